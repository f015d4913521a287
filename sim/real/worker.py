"""A real worker: the production agent and client on a connection of their own, with the faults on them.

The code, the sockets and the time are real. The machine's figures and its address are made up; the address is
under `.invalid` (RFC 2606), which belongs to nobody.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import trio

from minicloud.clock import SystemClock
from minicloud.core.model import Resources
from minicloud.rpc.channel import Channel
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerResponse,
    HeartbeatResponse,
    RegisterWorkerResponse,
)
from minicloud.worker.agent import Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.agent_state import AgentState
from minicloud.worker.control_plane_client import TO_CONTROL_PLANE, ControlPlaneClient
from minicloud.worker.queries import QueryTracker
from sim.faults.real import Way
from sim.net.network import Delay
from sim.real.figures import Figures, Method
from sim.real.ledger import Ledger
from sim.real.stub import MeasuredStub

Connect = Callable[[], Awaitable[trio.abc.Stream]]

# Wanted ids begin with it, so that no run asks for the id of a worker that is really one.
PREFIX = "sim-"

_REASON = "simulation over"


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that all workers of a fleet share. `connect` makes a connection to `address`."""

    connect: Connect
    address: str
    figures: Figures
    ledger: Ledger
    random: Random
    elapsed_s: Callable[[], float]
    run_id: str  # makes installations of this run its own


class RealWorker:
    """The machine of a worker: identity and address stay while programs come and go."""

    def __init__(self, site: Site, name: str, wanted: str, zone: str) -> None:
        self.site = site
        self.name = name
        self.wanted_id = PREFIX + wanted
        self.zone = zone
        self.wipes = 0
        self.delays: list[tuple[Way, Delay]] = []  # of its messages
        self.program: Program | None = None  # the one that runs
        self.troubles = 0  # how often a fault has begun or ended
        self.excused = False  # by a fault, until a heartbeat sent after its end has been acknowledged
        self._trouble = 0  # faults that last

    @property
    def instance_id(self) -> str:
        return f"{self.site.run_id}-{self.name}-{self.wipes}"

    def start(self, nursery: trio.Nursery) -> None:
        """Start the program, unless it runs."""
        if self.program is None:
            self.program = Program(self)
            nursery.start_soon(self.program.run)

    def kill(self) -> None:
        """End the program as SIGKILL does: the system closes its connection."""
        program, self.program = self.program, None
        if program is not None:
            program.kill()

    @property
    def running(self) -> Program | None:
        """The program that runs now."""
        return self.program

    def wipe(self) -> None:
        """Become another installation."""
        self.wipes += 1

    def want_id_of(self, name: str) -> None:
        """Have the next program want the id of the worker `name`."""
        self.wanted_id = PREFIX + name

    def begin_trouble(self) -> None:
        self._trouble += 1
        self.troubles += 1
        self.excused = True

    def end_trouble(self) -> None:
        self._trouble -= 1
        self.troubles += 1

    def acknowledged(self, troubles: int) -> None:
        """Note that a heartbeat was acknowledged that was sent after so many troubles."""
        if self.excused and troubles == self.troubles and not self._trouble:
            self.excused = False


class Program:
    """One run of a worker's program."""

    def __init__(self, worker: RealWorker) -> None:
        self.worker = worker
        self.name = worker.name
        self.figures = worker.site.figures
        self.ended = trio.Event()
        self._site = worker.site
        self._scope = trio.CancelScope()
        self._agent: Agent | None = None
        self._stream: trio.abc.Stream | None = None
        self._stops = 0
        self._goes_on = trio.Event()

    async def run(self) -> None:
        """Be a member until asked to leave, or killed."""
        worker = self.worker
        with self._scope:
            async with trio.open_nursery() as nursery:
                channel = Channel(
                    nursery,
                    [self._connect],
                    random=self._site.random,
                    config=TO_CONTROL_PLANE,
                    authority=self._site.address,
                )
                clock = _ProgramClock(self)
                stub = channel.stub(partial(MeasuredStub, caller=self))
                self._agent = Agent(
                    AgentConfig(
                        wanted_id=worker.wanted_id,
                        instance_id=worker.instance_id,
                        metadata={"zone": worker.zone},
                    ),
                    ControlPlaneClient([(self._site.address, stub)], clock),
                    endpoint=self._endpoint,
                    resources=_resources,
                    queries=QueryTracker(),
                    clock=clock,
                    random=self._site.random,
                )
                await self._agent.run()
                channel.close()
        if worker.program is self:
            worker.program = None
        self.ended.set()

    @property
    def state(self) -> AgentState | None:
        """The agent's state; None before there is an agent."""
        return self._agent.state if self._agent is not None else None

    @property
    def worker_id(self) -> str:
        """The id that it is a member under; empty while it is no member."""
        state = self.state
        return state.worker_id if state is not None and state.registered else ""

    def kill(self) -> None:
        self._scope.cancel()

    def stop(self) -> None:
        """Ask it to leave, even while it is paused."""
        self.worker.delays.clear()
        self._stops = 0
        self._goes_on.set()
        if self._agent is not None:
            self._agent.stop(_REASON)
        else:
            self.kill()

    def pause(self) -> None:
        """Stop its timers and its messages. Its connection is not read meanwhile, and stays."""
        if not self._stops:
            self._goes_on = trio.Event()
        self._stops += 1

    def resume(self) -> None:
        self._stops = max(0, self._stops - 1)
        if not self._stops:
            self._goes_on.set()

    async def reset(self) -> None:
        """Break its connection, if it has one: both ends receive a reset."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if isinstance(stream, trio.SocketStream) and stream.socket.fileno() >= 0:
            # Closing then sends RST in place of FIN; see SO_LINGER in socket(7).
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(stream)

    async def _connect(self) -> trio.abc.Stream:
        began_s = trio.current_time()
        try:
            self._stream = await self._site.connect()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self.figures.failed(Method.CONNECT, reason, expected=self.excused)
            raise
        self.figures.answered(Method.CONNECT, trio.current_time() - began_s)
        return self._stream

    async def _endpoint(self) -> str:
        return f"{PREFIX}{self.name}.{self._site.run_id}.invalid:9091"

    # For its calls

    @property
    def excused(self) -> bool:
        return self.worker.excused

    @property
    def troubles(self) -> int:
        return self.worker.troubles

    def delay_s(self, way: Way) -> float:
        random = self._site.random
        return sum(delay.draw_s(random) for each, delay in self.worker.delays if each == way)

    async def standing_still(self) -> None:
        while self._stops:
            await self._goes_on.wait()

    def register_answered(self, answer: RegisterWorkerResponse) -> None:
        if not answer.registered:
            self.figures.failed(Method.REGISTER, "REFUSED", expected=self.excused)
            return
        self.figures.registered(self._site.elapsed_s())
        self._site.ledger.given(self, answer.assigned_worker_id, answer.incarnation)

    def heartbeat_answered(self, answer: HeartbeatResponse, troubles: int) -> None:
        if answer.acknowledged and answer.instructions.get("action") != "register":
            self.figures.heartbeats += 1
            self.worker.acknowledged(troubles)
            return
        self.figures.told_to_register += 1
        if not self.excused:
            self._site.ledger.denied(self, f"told to register again as {self.worker_id}, for no reason seen")

    def deregister_answered(self, worker_id: str, answer: DeregisterWorkerResponse) -> None:
        if not answer.deregistered and not self.excused:
            self._site.ledger.denied(self, f"leaves as {worker_id}, which the control plane does not know")
        self._site.ledger.taken_back(worker_id)

    # For the ledger

    def surely_holds(self, worker_id: str) -> bool:
        state = self.state
        if self.worker.program is not self or self.excused or state is None or not state.registered:
            return False
        heard_s = state.last_acknowledged_s
        young = heard_s is not None and trio.current_time() - heard_s < state.interval_s
        return young and state.worker_id == worker_id


class _ProgramClock(SystemClock):
    """A clock whose sleepers wait longer while the program is paused."""

    def __init__(self, program: Program) -> None:
        self._program = program

    async def sleep_until(self, deadline_s: float) -> None:
        await super().sleep_until(deadline_s)
        await self._program.standing_still()


def _resources(active_queries: int) -> Resources:
    return Resources(
        cpu_cores=8, memory_mb=32_768, disk_mb=512_000, active_queries=active_queries, memory_used_mb=4096
    )
