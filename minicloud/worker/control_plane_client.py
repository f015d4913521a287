"""This module is `ControlPlaneApi` over gRPC: the generated stub, and several control planes tried in turn.

Always holds: a call ends within its timeout, with an answer or a `ControlPlaneError`; the control plane that
answered last is asked first. `tests/unit/worker/test_control_plane_client.py` keeps these. The agent, not
this module, decides when to call and repeats failed calls.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import structlog
from grpclib import GRPCError

from minicloud.clock import Clock
from minicloud.core.commands import Deregister, Heartbeat
from minicloud.http2.config import Timeouts
from minicloud.net.address import Address
from minicloud.request_id import HEADER, current_request_id
from minicloud.rpc.config import ChannelConfig
from minicloud.wire.convert import resources_to_message, status_from_wire, timestamp
from minicloud.wire.gen.minicloud.common import StandardResponse
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatRequest,
    ListWorkersRequest,
    RegisterWorkerRequest,
    WorkerManagementServiceStub,
)
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)

# A connection whose other end vanished takes calls for a quarter of an hour, until TCP gives up. It is pinged
# after 10 s without a reaction, and dropped 10 s later (DESIGN 20): that costs two heartbeats, of the four a
# lease lasts. With less time, every worker would connect again whenever a control plane stalls for a moment.
TO_CONTROL_PLANE = ChannelConfig(
    timeouts=Timeouts(
        keepalive_s=10, keepalive_timeout_s=10, keepalive_without_calls=False, max_idle_s=math.inf
    )
)

# A worker that went back to a control plane and lost it within `_SETTLED_S` waits before it goes back again:
# at first `_LEAST_HOLD_S`, then twice as long each time, at most `_SETTLED_S` (DESIGN 55).
_SETTLED_S = 600.0
_LEAST_HOLD_S = 30.0

# HeartbeatRequest.status_metadata of a worker that is shutting down.
LEAVING = {"state": "leaving"}

log = structlog.get_logger()

_Answer = TypeVar("_Answer")


class Line(Protocol):
    """A line is the channel under a stub."""

    def renew(self) -> None:
        """Have later calls use a new connection."""

    async def local_address(self, timeout_s: float) -> Address | None:
        """Return this end's address of the connection, which is made where there is none. Raise GRPCError."""


class Upstream(NamedTuple):
    """This is one control plane: an address for people, a stub, and the channel under it where that is
    needed."""

    address: str
    stub: WorkerManagementServiceStub
    line: Line | None = None


class ControlPlaneClient:
    """This client calls one of several control planes.

    A call goes to the one in use, which answered last, and where that fails to the others in the order in
    which they were named. Each gets an equal share of the time left, so that one that hangs leaves time for
    the rest.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream | tuple[str, WorkerManagementServiceStub]],
        clock: Clock,
    ) -> None:
        assert upstreams, "a worker has at least one control plane"
        self._upstreams = [Upstream(*each) for each in upstreams]
        self._clock = clock
        self._order = tuple(range(len(self._upstreams)))  # in which a call tries them
        self._returned_s = -math.inf  # when `look_back` last had success
        self._hold_s = 0.0
        self._look_again_s = -math.inf

    @property
    def address(self) -> str:
        return self._upstreams[self._used].address

    @property
    def away(self) -> bool:
        return self._used > 0

    @property
    def _used(self) -> int:
        """The number of the control plane in use."""
        return self._order[0]

    def renew(self) -> None:
        for upstream in self._upstreams:
            if upstream.line is not None:
                upstream.line.renew()

    async def local_address(self, timeout_s: float) -> Address | None:
        """Return this end's address of the connection to the control plane, which is made where there is
        none.

        The address is None where connections have none. Raise `ControlPlaneError`.
        """

        async def ask(upstream: Upstream, time_s: float) -> Address | None:
            return await upstream.line.local_address(time_s) if upstream.line is not None else None

        return (await self._first_answer(ask, timeout_s))[1]

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        request = RegisterWorkerRequest(
            worker_id=registration.worker_id,
            endpoint=registration.endpoint,
            resources=resources_to_message(registration.resources),
            metadata=dict(registration.metadata),
            instance_id=registration.instance_id,
        )
        answer = await self._call(
            lambda upstream, time_s: upstream.stub.register_worker(
                request, timeout=time_s, metadata=_metadata()
            ),
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
            status_metadata=LEAVING if heartbeat.leaving else {},
        )
        answer = await self._call(
            lambda upstream, time_s: upstream.stub.heartbeat(request, timeout=time_s, metadata=_metadata()),
            timeout_s,
        )
        return HeartbeatAnswer(
            acknowledged=answer.acknowledged,
            action=answer.instructions.get("action", ""),
            expected_status=status_from_wire(answer.expected_status),
            next_heartbeat_s=answer.next_heartbeat_ms / 1000,
            error=_error_in(answer.response),
        )

    async def deregister(self, leave: Deregister, timeout_s: float) -> bool:
        request = _leave_request(leave)
        number, answer = await self._first_answer(
            lambda upstream, time_s: upstream.stub.deregister_worker(
                request, timeout=time_s, metadata=_metadata()
            ),
            timeout_s,
        )
        if number != self._used and not answer.deregistered:
            # This one never had the worker, and the one that has it did not answer.
            raise ControlPlaneError(f"{self.address}: no answer")
        return answer.deregistered

    async def leave_other(self, address: str, leave: Deregister, timeout_s: float) -> None:
        for upstream in self._upstreams:
            if upstream.address == address:
                try:
                    await upstream.stub.deregister_worker(
                        _leave_request(leave), timeout=timeout_s, metadata=_metadata()
                    )
                except GRPCError as error:
                    raise ControlPlaneError(_problem(upstream, error)) from None

    async def look_back(self, timeout_s: float) -> bool:
        # A list of one worker changes nothing, and every version answers it (DESIGN 55). It gets half of the
        # time of a call, so that a control plane too slow for later calls is passed over.
        request = ListWorkersRequest(limit=1)
        if self._clock.monotonic_s() < self._look_again_s:
            return False
        for number, upstream in enumerate(self._upstreams[: self._used]):
            try:
                within_s = timeout_s / len(self._upstreams) / 2
                await upstream.stub.list_workers(request, timeout=within_s, metadata=_metadata())
            except GRPCError:
                continue
            if number < self._used:
                self._use(number, "it was named before and answers again")
                return True
        return False

    async def _call(self, call: Callable[[Upstream, float], Awaitable[_Answer]], timeout_s: float) -> _Answer:
        """Return the first answer. The control plane that gave it is the one in use from then on."""
        used = self._used
        number, answer = await self._first_answer(call, timeout_s)
        if number != used and self._used == used:
            self._use(number, "the one before did not answer")
        return answer

    def _use(self, number: int, reason: str) -> None:
        was = self.address
        self._order = (number, *(each for each in range(len(self._upstreams)) if each != number))
        now_s = self._clock.monotonic_s()
        if self.away:
            settled = now_s - self._returned_s > _SETTLED_S
            self._hold_s = 0.0 if settled else min(max(2 * self._hold_s, _LEAST_HOLD_S), _SETTLED_S)
            self._look_again_s = now_s + self._hold_s
        else:
            self._returned_s = now_s
        log.info("control_plane_changed", control_plane=self.address, was=was, reason=reason)

    async def _first_answer(
        self, call: Callable[[Upstream, float], Awaitable[_Answer]], timeout_s: float
    ) -> tuple[int, _Answer]:
        """Return the first answer, and the number of the control plane that gave it."""
        deadline_s = self._clock.monotonic_s() + timeout_s
        left_s = timeout_s
        problems: list[str] = []
        order = self._order
        for tried, number in enumerate(order):
            upstream = self._upstreams[number]
            try:
                answer = await call(upstream, left_s / (len(order) - tried))
            except GRPCError as error:
                problems.append(_problem(upstream, error))
                left_s = deadline_s - self._clock.monotonic_s()
            else:
                return number, answer
        raise ControlPlaneError("; ".join(problems))


def _leave_request(leave: Deregister) -> DeregisterWorkerRequest:
    return DeregisterWorkerRequest(
        worker_id=leave.worker_id, reason=leave.reason, incarnation=leave.incarnation
    )


def _problem(upstream: Upstream, error: GRPCError) -> str:
    return f"{upstream.address}: {error.status.name}: {error.message or 'no details'}"


def _metadata() -> dict[str, str]:
    """Return the metadata that ties our log lines to the control plane's: the request's id."""
    request_id = current_request_id()
    return {HEADER: request_id} if request_id else {}


def _error_in(response: StandardResponse | None) -> str:
    return response.metadata.get("error", "") if response is not None else ""
