"""The generated stub, measured: every call is timed and counted, and delayed where a fault asks for it.

The time of the call alone is measured: without the delay of a fault, and without the time that its answer
waits in a paused worker.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.rpc.channel import Channel
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    DeregisterWorkerResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    WorkerManagementServiceStub,
)
from sim.faults.real import Way
from sim.real.figures import Figures, Method

if TYPE_CHECKING:
    from grpclib.metadata import Deadline

    from minicloud.rpc.metadata import MetadataLike


class Caller(Protocol):
    """The program that calls."""

    figures: Figures

    @property
    def excused(self) -> bool:
        """True if a fault explains any error that it has now."""
        ...

    @property
    def troubles(self) -> int:
        """The number of times that a fault on it has begun or ended."""
        ...

    def delay_s(self, way: Way) -> float:
        """Draw the delay that faults add to one of its messages."""
        ...

    async def standing_still(self) -> None:
        """Wait until the program is resumed."""

    def register_answered(self, answer: RegisterWorkerResponse) -> None: ...

    def heartbeat_answered(self, answer: HeartbeatResponse, troubles: int) -> None:
        """Take the answer to a heartbeat that was sent after `troubles` troubles."""

    def deregister_answered(self, worker_id: str, answer: DeregisterWorkerResponse) -> None: ...


class MeasuredStub(WorkerManagementServiceStub):
    """The stub that a worker's client calls."""

    def __init__(self, channel: Channel, caller: Caller) -> None:
        super().__init__(channel)  # type: ignore[arg-type]  # declared for grpclib's own channel
        self._caller = caller

    async def register_worker(
        self,
        message: RegisterWorkerRequest,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> RegisterWorkerResponse:
        async with _Call(self._caller, Method.REGISTER, timeout) as call:
            answer = await super().register_worker(
                message, timeout=call.left_s, deadline=deadline, metadata=metadata
            )
            self._caller.register_answered(answer)
        return answer

    async def heartbeat(
        self,
        message: HeartbeatRequest,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> HeartbeatResponse:
        async with _Call(self._caller, Method.HEARTBEAT, timeout) as call:
            troubles = self._caller.troubles
            answer = await super().heartbeat(
                message, timeout=call.left_s, deadline=deadline, metadata=metadata
            )
            self._caller.heartbeat_answered(answer, troubles)
        return answer

    async def deregister_worker(
        self,
        message: DeregisterWorkerRequest,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> DeregisterWorkerResponse:
        async with _Call(self._caller, Method.DEREGISTER, timeout) as call:
            answer = await super().deregister_worker(
                message, timeout=call.left_s, deadline=deadline, metadata=metadata
            )
            self._caller.deregister_answered(message.worker_id, answer)
        return answer


class _Call:
    """One call: enter it to send the request, leave it to hand the answer on."""

    def __init__(self, caller: Caller, method: Method, timeout_s: float | None) -> None:
        self._caller = caller
        self._method = method
        self._deadline_s = math.inf if timeout_s is None else trio.current_time() + timeout_s
        self._began_s = 0.0

    @property
    def left_s(self) -> float | None:
        """The time left for the call; None without a limit."""
        return None if self._deadline_s == math.inf else self._deadline_s - trio.current_time()

    async def __aenter__(self) -> Self:
        await self._caller.standing_still()
        await self._travel("to-server")
        self._began_s = trio.current_time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._caller.figures.answered(self._method, trio.current_time() - self._began_s)
            await self._travel("to-client")
        elif isinstance(error, GRPCError):
            self._failed(error.status)
        else:
            return
        await self._caller.standing_still()

    async def _travel(self, way: Way) -> None:
        delay_s = self._caller.delay_s(way)
        if not delay_s:
            return
        arrives_s = trio.current_time() + delay_s
        await trio.sleep_until(min(arrives_s, self._deadline_s))
        if arrives_s >= self._deadline_s:
            self._failed(Status.DEADLINE_EXCEEDED)
            raise GRPCError(Status.DEADLINE_EXCEEDED, "held up by the delay of this run")

    def _failed(self, status: Status) -> None:
        figures = self._caller.figures
        figures.failed(self._method, status.name, expected=self._caller.excused)
