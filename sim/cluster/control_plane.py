"""A simulated control plane: the production parts of one, on a machine that can fail."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import trio

from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.control.service import grpc_error
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.rpc.interceptors import intercepted, translating
from minicloud.store.port import MembershipEvent
from sim.cluster.disk import Disk, DiskStore
from sim.cluster.node import Node
from sim.engine.clocks import NodeClock, ProcessClock
from sim.engine.process import Process
from sim.engine.randomness import Streams
from sim.net.depths import DepthName, SimServer, make_server
from sim.net.network import Delay, Network
from sim.net.tap import Tapped


class ControlPlaneObserver:
    """Receives what happens to control planes, each call in the step in which it happens.

    Every method does nothing here: a subclass overrides those that it needs. None may wait or raise.
    """

    def control_plane_started(self, run: ControlPlaneRun) -> None:
        """The control plane has loaded its disk and serves from now on."""

    def control_plane_ended(self, run: ControlPlaneRun) -> None:
        """The control plane was killed, or ended by itself: then `run.process.failure` is the reason."""

    def took(self, run: ControlPlaneRun, message: Any) -> None:
        """The service of `run` is about to handle `message`."""

    def answered(self, run: ControlPlaneRun, message: Any, answer: Any) -> None:
        """The service of `run` answers `message` with `answer`."""

    def changed(self, run: ControlPlaneRun, entry: MembershipEvent) -> None:
        """The membership of `run` has changed."""

    def stalled(self, run: ControlPlaneRun, by_s: float) -> None:
        """The control plane has noticed a stall, and moves its deadlines by `by_s`."""

    def lost_power(self, node: ControlPlaneNode, written: int, kept: int) -> None:
        """The disk of `node` lost power: of `written` changes that were not synced, it has `kept`."""

    def write_failed(self, node: ControlPlaneNode) -> None:
        """The disk of `node` failed to write."""


class ControlPlaneNode(Node["ControlPlaneRun"]):
    """The machine of a control plane.

    `service_time` is the CPU time of one call; a real control plane was measured at some 0.2 ms.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        depth: DepthName,
        streams: Streams,
        clock: NodeClock,
        observers: Sequence[ControlPlaneObserver],
        *,
        timers: LivenessPolicy,
        service_time: Delay,
    ) -> None:
        super().__init__(name, network, depth, streams, clock)
        self.observers = observers
        self.timers = timers
        self.service_time = service_time
        self.slowness: list[Delay] = []  # what each call takes on top
        self.disk = Disk(
            streams.stream(name, "disk"), lost_power=self._lost_power, write_failed=self._write_failed
        )

    def kill(self) -> None:
        """Lose power: connections break, and changes that the disk had not synced may be lost."""
        if self.alive:
            super().kill()
            self.disk.crash()

    def wipe(self) -> None:
        """Replace the disk with an empty one."""
        self.disk.wipe()

    def _lost_power(self, written: int, kept: int) -> None:
        for observer in self.observers:
            observer.lost_power(self, written, kept)

    def _write_failed(self) -> None:
        for observer in self.observers:
            observer.write_failed(self)

    def _new_run(self) -> ControlPlaneRun:
        return ControlPlaneRun(self)

    def server(self) -> SimServer | None:
        """The server that answers at this address now, if a program has run here."""
        return self.run.server if self.run is not None else None


class ControlPlaneRun:
    """One run of the program, from its start to its end."""

    def __init__(self, node: ControlPlaneNode) -> None:
        self.node = node
        self.started_s = node.timeline.now_s
        self.process = Process(node.timeline, node.name)
        self._random = node.streams.stream(node.name, "service time", str(node.starts))
        store = DiskStore(node.disk, self.process)
        self.plane = ControlPlane(
            node.timers,
            store,
            Metrics(per_worker=False),
            ProcessClock(node.clock, self.process),
            node.streams.stream(node.name, "program", str(node.starts)),
            snapshot=store.snapshot(),
            max_workers=sys.maxsize,
        )
        self.plane.membership.subscribe(self._on_entry)
        self.plane.membership.on_stall(self._on_stall)
        self.server = make_server(
            node.depth,
            self.process,
            intercepted(
                [
                    Tapped(
                        self.plane.service,
                        [partial(observer.took, self) for observer in node.observers],
                        [partial(observer.answered, self) for observer in node.observers],
                    )
                ],
                translating(grpc_error),
            ),
            self._service_time_s,
            node.network,
            node.streams.stream(node.name, "server", str(node.starts)),
        )

    async def main(self) -> None:
        """Run the program to its end."""
        await self.process.run(self._serve)
        for observer in self.node.observers:
            observer.control_plane_ended(self)

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.plane.store.run)
            await nursery.start(self.plane.sweeper.run)
            await nursery.start(self.server.serve)
            for observer in self.node.observers:
                observer.control_plane_started(self)

    def _service_time_s(self) -> float:
        node = self.node
        took_s = node.service_time.draw_s(self._random)
        for extra in node.slowness:
            took_s += extra.draw_s(self._random)
        return took_s

    def _on_stall(self, by_s: float) -> None:
        for observer in self.node.observers:
            observer.stalled(self, by_s)

    def _on_entry(self, entry: MembershipEvent) -> None:
        for observer in self.node.observers:
            observer.changed(self, entry)
