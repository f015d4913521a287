"""A simulated cluster: a control plane, its workers and the network between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio

from sim.cluster.control_plane import ControlPlaneNode, ControlPlaneRun
from sim.cluster.observer import ClusterObserver
from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.cluster.worker import WorkerNode
from sim.engine.clocks import NodeClock
from sim.engine.randomness import Streams
from sim.engine.timeline import Timeline
from sim.net.network import Delay, Network

# A stop by itself (a failed disk) is mended by the machine's supervisor, this long after.
_RESTARTED_AFTER = Delay(1.0, 5.0)


class Cluster:
    """Builds the nodes of a topology and the network between them. `start` it once, inside `nursery`."""

    def __init__(
        self,
        topology: Topology,
        timeline: Timeline,
        streams: Streams,
        observers: Sequence[ClusterObserver],
    ) -> None:
        self.topology = topology
        self.timeline = timeline
        self.streams = streams
        self.network = Network(timeline, streams, topology.delay)
        self.control_plane = ControlPlaneNode(
            CONTROL_PLANE,
            self.network,
            topology.depth,
            streams,
            self._clock(CONTROL_PLANE),
            [*observers, _Supervisor(self)],
            timers=topology.timers,
            service_time=topology.service_time,
        )
        self.workers: dict[str, WorkerNode] = {}
        for number, name in enumerate(topology.worker_names):
            first_duplicate = topology.workers - topology.duplicates
            wanted = number - first_duplicate if number >= first_duplicate else number
            self.workers[name] = WorkerNode(
                name,
                self.network,
                topology.depth,
                streams,
                self._clock(name),
                observers,
                control_planes=[self.control_plane],
                wanted_id=f"worker-{wanted}",
                zone=topology.zone_of(number),
            )
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """The nursery in which programs run."""
        assert self._nursery is not None, "the cluster has not been started"
        return self._nursery

    def start(self, nursery: trio.Nursery) -> None:
        """Start every program, the workers' over the ramp."""
        self._nursery = nursery
        self.control_plane.start(nursery)
        for worker in self.workers.values():
            at_s = self.streams.stream(worker.name, "ramp").random() * self.topology.ramp_s
            self.timeline.at(at_s, worker.start, nursery)

    def workers_named(self, names: Iterable[str]) -> list[WorkerNode]:
        """The nodes among `names` that are workers."""
        return [self.workers[name] for name in names if name in self.workers]

    def _clock(self, name: str) -> NodeClock:
        random = self.streams.stream(name, "clock")
        offset_s = random.random() * self.topology.clock_offset_s
        rate = 1.0 + (2 * random.random() - 1) * self.topology.clock_drift
        wall_error_s = (2 * random.random() - 1) * min(1.0, self.topology.clock_offset_s)
        return NodeClock(self.timeline, offset_s, rate, wall_error_s)


class _Supervisor(ClusterObserver):
    """Restarts a control plane that has ended by itself, as systemd would."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random = cluster.streams.stream(CONTROL_PLANE, "supervisor")

    def control_plane_ended(self, run: ControlPlaneRun) -> None:
        if run.process.failure is not None:
            timeline = self._cluster.timeline
            after_s = _RESTARTED_AFTER.draw_s(self._random)
            timeline.at(timeline.now_s + after_s, run.node.start, self._cluster.nursery)
