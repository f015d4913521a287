"""A simulated worker: the production agent and its client, on a machine that can fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from minicloud.clock import Clock
from minicloud.core.commands import Heartbeat
from minicloud.core.errors import MiniCloudError
from minicloud.core.model import Resources
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceStub
from minicloud.worker.agent import Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.agent_state import Phase
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)
from minicloud.worker.control_plane_client import ControlPlaneClient
from minicloud.worker.queries import QueryTracker
from sim.cluster.control_plane import ControlPlaneNode
from sim.cluster.node import Node
from sim.engine.clocks import NodeClock, ProcessClock
from sim.engine.process import Process
from sim.engine.randomness import Streams
from sim.net.depths import DepthName, SimChannel, make_channel
from sim.net.network import Network
from sim.net.wire import WireChannel


class WorkerObserver:
    """Receives what happens to workers, each call in the step in which it happens.

    Every method does nothing here: a subclass overrides those that it needs. None may wait or raise.
    """

    def worker_started(self, run: WorkerRun) -> None:
        """The program of `run` has begun."""

    def call_failed(self, run: WorkerRun, error: str) -> None:
        """A call of `run` failed with what its agent takes to be `error`."""

    def worker_ended(self, run: WorkerRun, reason: str) -> None:
        """The program has ended. `reason` is that of its leave or its error; a killed program has none."""


class WorkerNode(Node["WorkerRun"]):
    """The machine of a worker; its disk keeps the `instance_id`."""

    def __init__(
        self,
        name: str,
        network: Network,
        depth: DepthName,
        streams: Streams,
        clock: NodeClock,
        observers: Sequence[WorkerObserver],
        *,
        control_planes: Sequence[ControlPlaneNode],
        wanted_id: str,
        zone: str,
    ) -> None:
        super().__init__(name, network, depth, streams, clock)
        self.observers = observers
        self.control_planes = control_planes
        self.wanted_id = wanted_id
        self.zone = zone
        self.port = 9091
        self.wipes = 0

    @property
    def instance_id(self) -> str:
        """The identity that its disk keeps; a wiped disk gets another one."""
        return f"{self.name}-{self.wipes}"

    @property
    def endpoint(self) -> str:
        """The address at which its program can be reached."""
        return f"{self.name}:{self.port}"

    def move(self) -> None:
        """Change the endpoint."""
        self.port += 1

    def wipe(self) -> None:
        """Replace the disk with an empty one, and the identity with it."""
        self.wipes += 1

    def _new_run(self) -> WorkerRun:
        return WorkerRun(self)


class WorkerRun:
    """One run of the program, from its start to its end."""

    def __init__(self, node: WorkerNode) -> None:
        self.node = node
        self.process = process = Process(node.timeline, node.name)
        self.queries = QueryTracker()
        self._left = ""
        self._reports = 0
        clock = ProcessClock(node.clock, process)
        self._channels = [
            make_channel(
                node.depth,
                process,
                node.clock,
                node.network.link(node.name, control_plane.name),
                control_plane.server,
                lambda: node.streams.stream(node.name, "channel", str(node.starts)),
            )
            for control_plane in node.control_planes
        ]
        stubs: list[tuple[str, WorkerManagementServiceStub]] = [
            (f"{control_plane.name}:9090", _stub(channel))
            for control_plane, channel in zip(node.control_planes, self._channels, strict=True)
        ]
        self.agent = Agent(
            AgentConfig(
                wanted_id=node.wanted_id,
                instance_id=node.instance_id,
                metadata={"zone": node.zone},
                drain_timeout_s=20.0,
            ),
            _Client(stubs, clock, self._call_failed),
            endpoint=self._endpoint,
            resources=self._resources,
            queries=self.queries,
            clock=clock,
            random=node.streams.stream(node.name, "program", str(node.starts)),
        )

    async def main(self) -> None:
        """Run the program to its end."""
        for observer in self.node.observers:
            observer.worker_started(self)
        await self.process.run(self._work)
        for observer in self.node.observers:
            observer.worker_ended(self, self._left)

    def stop(self, busy_s: float) -> None:
        """Ask the program to end in order; a query that runs takes `busy_s` more."""
        if busy_s > 0 and self.agent.state.phase is Phase.ACTIVE:
            query = self.queries.query()
            query.__enter__()
            timeline = self.node.timeline
            timeline.at(timeline.now_s + busy_s, lambda: query.__exit__(None, None, None))
        self.agent.stop("SIGTERM")

    async def _work(self) -> None:
        wires = [channel for channel in self._channels if isinstance(channel, WireChannel)]
        if not wires:  # a nursery for nothing: of thousands of workers, a fiftieth of a run
            await self._be_member()
            return
        async with trio.open_nursery() as nursery:
            for channel in wires:
                channel.open(nursery)
            await self._be_member()
            nursery.cancel_scope.cancel()

    async def _be_member(self) -> None:
        try:
            self._left = await self.agent.run()
        except MiniCloudError as error:
            self._left = str(error)

    async def _endpoint(self) -> str:
        return self.node.endpoint

    def _resources(self, active_queries: int) -> Resources:
        self._reports += 1  # no two reports in a row are the same: which one counted can be seen
        return Resources(
            cpu_cores=8,
            memory_mb=32_768,
            disk_mb=512_000,
            active_queries=active_queries,
            memory_used_mb=4096 + self._reports % 4096,
        )

    def _call_failed(self, error: str) -> None:
        for observer in self.node.observers:
            observer.call_failed(self, error)


class _Client(ControlPlaneClient):
    """Calls `failed` with each error before it raises it to the agent."""

    def __init__(
        self,
        stubs: Sequence[tuple[str, WorkerManagementServiceStub]],
        clock: Clock,
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(stubs, clock)
        self._failed = failed

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        try:
            return await super().register(registration, timeout_s)
        except ControlPlaneError as error:
            self._failed(str(error))
            raise

    async def heartbeat(self, heartbeat: Heartbeat, timeout_s: float) -> HeartbeatAnswer:
        try:
            return await super().heartbeat(heartbeat, timeout_s)
        except ControlPlaneError as error:
            self._failed(str(error))
            raise


def _stub(channel: SimChannel) -> WorkerManagementServiceStub:
    """A generated stub. (Its declared parameter is grpclib's own channel.)"""
    make: Callable[[SimChannel], WorkerManagementServiceStub] = WorkerManagementServiceStub  # type: ignore[assignment]
    return make(channel)
