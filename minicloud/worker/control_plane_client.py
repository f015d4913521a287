"""`ControlPlane` over gRPC: the generated stub, and several control planes tried in turn.

Always holds: a call ends within its timeout, with an answer or a `ControlPlaneError`; the control plane that
answered last is asked first. Knows no schedule and retries nothing: that is the agent's.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from grpclib import GRPCError

from minicloud.clock import Clock
from minicloud.core.commands import Deregister, Heartbeat
from minicloud.request_id import HEADER, current_request_id
from minicloud.rpc.config import ChannelConfig, Timeouts
from minicloud.wire.convert import resources_to_message, status_from_wire, timestamp
from minicloud.wire.gen.minicloud.common import StandardResponse
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatRequest,
    RegisterWorkerRequest,
    WorkerManagementServiceStub,
)
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    Registration,
)

# A connection whose other end vanished without a word (power, network, a NAT box's memory) takes calls and
# never answers, for a quarter of an hour until TCP gives up. Unanswered for 10 s it is asked, and after 10 s
# more dropped: that costs two heartbeats their deadline, of the four a lease lasts. Sooner would have every
# worker connect again at once where a control plane stood still for a moment.
TO_CONTROL_PLANE = ChannelConfig(
    timeouts=Timeouts(
        keepalive_s=10, keepalive_timeout_s=10, keepalive_without_calls=False, max_idle_s=math.inf
    )
)

_Answer = TypeVar("_Answer")
_Call = Callable[[WorkerManagementServiceStub, float], Awaitable[_Answer]]


class ControlPlaneClient:
    """Calls one of several control planes, each an address for people and a stub on its channel.

    A call goes to the one that answered last; where that fails, to the others in the order given. Each gets
    an equal share of the time left, so that one that hangs leaves time for the rest.
    """

    def __init__(self, stubs: Sequence[tuple[str, WorkerManagementServiceStub]], clock: Clock) -> None:
        assert stubs, "a worker has at least one control plane"
        self._stubs = list(stubs)
        self._clock = clock

    @property
    def address(self) -> str:
        return self._stubs[0][0]

    async def register(self, registration: Registration, timeout_s: float) -> RegisterAnswer:
        request = RegisterWorkerRequest(
            worker_id=registration.worker_id,
            endpoint=registration.endpoint,
            resources=resources_to_message(registration.resources),
            metadata=dict(registration.metadata),
            instance_id=registration.instance_id,
        )
        answer = await self._first_answer(
            lambda stub, time_s: stub.register_worker(request, timeout=time_s, metadata=_metadata()),
            timeout_s,
        )
        return RegisterAnswer(
            registered=answer.registered,
            worker_id=answer.assigned_worker_id,
            incarnation=answer.incarnation,
            heartbeat_interval_s=answer.heartbeat_interval_ms / 1000,
            error=_error_in(answer.response),
        )

    async def heartbeat(self, heartbeat: Heartbeat, timeout_s: float) -> HeartbeatAnswer:
        resources = heartbeat.resources
        request = HeartbeatRequest(
            worker_id=heartbeat.worker_id,
            current_resources=resources_to_message(resources) if resources is not None else None,
            timestamp=timestamp(round(self._clock.wall_s() * 1000)),
            incarnation=heartbeat.incarnation,
            sequence=heartbeat.sequence,
        )
        answer = await self._first_answer(
            lambda stub, time_s: stub.heartbeat(request, timeout=time_s, metadata=_metadata()), timeout_s
        )
        return HeartbeatAnswer(
            acknowledged=answer.acknowledged,
            action=answer.instructions.get("action", ""),
            expected_status=status_from_wire(answer.expected_status),
            next_heartbeat_s=answer.next_heartbeat_ms / 1000,
            error=_error_in(answer.response),
        )

    async def deregister(self, leave: Deregister, timeout_s: float) -> bool:
        request = DeregisterWorkerRequest(
            worker_id=leave.worker_id, reason=leave.reason, incarnation=leave.incarnation
        )
        answer = await self._first_answer(
            lambda stub, time_s: stub.deregister_worker(request, timeout=time_s, metadata=_metadata()),
            timeout_s,
        )
        return answer.deregistered

    async def _first_answer(self, call: _Call[_Answer], timeout_s: float) -> _Answer:
        stubs = self._stubs
        deadline_s = self._clock.monotonic_s() + timeout_s
        left_s = timeout_s
        problems = []
        for tried, (address, stub) in enumerate(stubs):
            try:
                answer = await call(stub, left_s / (len(stubs) - tried))
            except GRPCError as error:
                problems.append(f"{address}: {error.status.name}: {error.message or 'no details'}")
                left_s = deadline_s - self._clock.monotonic_s()
            else:
                if tried:  # the ones that failed go to the end: the others keep their order
                    self._stubs = stubs[tried:] + stubs[:tried]
                return answer
        raise ControlPlaneError("; ".join(problems))


def _metadata() -> dict[str, str]:
    """Ties our log lines to the control plane's."""
    request_id = current_request_id()
    return {HEADER: request_id} if request_id else {}


def _error_in(response: StandardResponse | None) -> str:
    return response.metadata.get("error", "") if response is not None else ""
