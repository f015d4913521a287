"""This module is the gRPC service of membership: the four calls that workers and schedulers make.

It turns messages into commands and events into answers, and counts them. A refusal is an answer with the gRPC
status OK, as clients in the field expect. Only a request that no version accepts is a gRPC error.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Protocol

import structlog
import trio
from grpclib import GRPCError
from grpclib import Status as GrpcStatus

from minicloud.control.membership import Membership
from minicloud.control.paging import Page, page_of_workers, token_after
from minicloud.core.commands import Deregister, Heartbeat, Register, trimmed_metadata
from minicloud.core.errors import (
    FencedError,
    InvalidError,
    LimitError,
    StoreError,
    StoreUnavailableError,
    UnknownWorkerError,
)
from minicloud.core.events import RegistrationOutcome, WorkerHeard, WorkerRegistered
from minicloud.core.model import Admin, Resources, Worker, WorkerId
from minicloud.request_id import current_request_id
from minicloud.wire.convert import (
    resources_from_message,
    status_from_wire,
    status_to_wire,
    timestamp,
    worker_to_message,
)
from minicloud.wire.encoded import EncodedList
from minicloud.wire.gen.minicloud.common import ResourceInfo, ResponseStatus, StandardResponse
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    DeregisterWorkerResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    WorkerManagementServiceBase,
)

# The `action` for each admin state. An answer without one ends an earlier order.
_ACTIONS = {Admin.CORDONED: "cordon", Admin.DRAINING: "drain"}

# At most this many workers have their negative figures logged, once each.
_MISCOUNTING = 1_000


# This is for the workers in one answer. Stock clients take 4 MiB, and the answer also has a token.
MAX_LIST_BYTES = 4_000_000

# Each list takes some 3 ms a turn, for 100 workers, so a hundred at once would delay every heartbeat
# (DESIGN 32).
_LISTS_AT_ONCE = 2

_STATUSES = {
    InvalidError: GrpcStatus.INVALID_ARGUMENT,
    UnknownWorkerError: GrpcStatus.NOT_FOUND,
    FencedError: GrpcStatus.FAILED_PRECONDITION,
    LimitError: GrpcStatus.RESOURCE_EXHAUSTED,
    StoreError: GrpcStatus.UNAVAILABLE,
}


def grpc_error(error: Exception) -> GRPCError | None:
    """Return the gRPC status of an error of ours that no answer can express; None for any other error."""
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return GRPCError(status, str(error))
    return None


class CallCounter(Protocol):
    """A call counter counts heartbeats and registrations."""

    def heartbeat(self, result: str) -> None:
        """Count a heartbeat. `result` is accepted, stale, unknown, fenced or invalid."""
        ...

    def registration(self, outcome: str) -> None:
        """Count a registration. `outcome` is new, again, returned, takeover, renamed, clone or refused."""
        ...


class WorkerManagementService(WorkerManagementServiceBase):
    """This is `minicloud.execution.WorkerManagementService` over `membership`."""

    def __init__(self, membership: Membership, counter: CallCounter, random: Random) -> None:
        self._membership = membership
        self._counter = counter
        self._random = random
        self._listing = trio.Semaphore(_LISTS_AT_ONCE)
        self._interval_ms = round(membership.policy.heartbeat_interval_s * 1000)
        # The logger is bound once, so that a debug line that is not logged costs little.
        self._log = structlog.get_logger().bind()
        self._miscounting: set[str] = set()  # workers of which a negative figure has been logged

    async def register_worker(self, message: RegisterWorkerRequest) -> RegisterWorkerResponse:
        membership = self._membership
        metadata = trimmed_metadata(message.metadata)
        try:
            *_, event = membership.execute(
                Register(
                    endpoint=message.endpoint,
                    generated_id=WorkerId(f"worker-{self._random.getrandbits(32):08x}"),
                    worker_id=message.worker_id,
                    instance_id=message.instance_id,
                    resources=self._resources_of(message.resources, message.worker_id) or Resources(),
                    metadata=metadata,
                )
            )
        except (InvalidError, LimitError) as error:
            self._counter.registration("refused")
            self._log.warning("registration_refused", error=str(error), endpoint=message.endpoint[:128])
            return RegisterWorkerResponse(registered=False, response=self._refused(error))
        assert isinstance(event, WorkerRegistered)
        self._counter.registration(event.registration)
        worker_id = event.worker_id
        if len(metadata) < len(message.metadata):
            dropped = sorted(set(message.metadata) - set(metadata))
            self._log.warning(
                "metadata_trimmed", worker_id=worker_id, dropped=len(dropped), first=dropped[0][:64]
            )
        if event.registration is RegistrationOutcome.CLONE:
            self._log.warning(
                "identity_shared", worker_id=worker_id, endpoint=event.endpoint, instance_id=event.instance_id
            )
        await membership.durable()
        return RegisterWorkerResponse(
            registered=True,
            assigned_worker_id=worker_id,
            response=self._response(),
            incarnation=event.incarnation,
            heartbeat_interval_ms=self._interval_ms,
        )

    async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
        membership = self._membership
        worker_id = message.worker_id
        status_metadata = message.status_metadata
        try:
            events = membership.execute(
                Heartbeat(
                    worker_id,
                    self._resources_of(message.current_resources, worker_id),
                    message.incarnation,
                    message.sequence,
                    bool(status_metadata) and status_metadata.get("state") == "leaving",
                )
            )
        except (UnknownWorkerError, FencedError) as error:
            self._counter.heartbeat("unknown" if isinstance(error, UnknownWorkerError) else "fenced")
            self._log.debug("heartbeat_unanswered", error=str(error))
            return HeartbeatResponse(
                acknowledged=False,
                instructions={"action": "register"},
                response=self._refused(error),
                next_heartbeat_ms=self._interval_ms,
            )
        except InvalidError as error:
            self._counter.heartbeat("invalid")
            self._log.warning("heartbeat_refused", error=str(error), worker_id=worker_id[:128])
            return HeartbeatResponse(
                acknowledged=False, response=self._refused(error), next_heartbeat_ms=self._interval_ms
            )
        result = "accepted" if events else "stale"
        self._counter.heartbeat(result)
        self._log.debug("heartbeat", worker_id=worker_id, sequence=message.sequence, result=result)
        worker = membership.registry.get(worker_id)
        if len(events) > 1 and type(events[0]) is not WorkerHeard:  # its status changed, which is stored
            # Where the store cannot write, the next heartbeat after a restart changes it again (DESIGN 79).
            with suppress(StoreUnavailableError):
                await membership.durable()
            worker = membership.sweep_due().get(worker_id)
        if worker is None:  # it left, or was removed, while this waited
            return HeartbeatResponse(acknowledged=True, response=self._response())
        return HeartbeatResponse(
            acknowledged=True,
            expected_status=status_to_wire(worker.status),
            instructions=_instructions(worker),
            response=self._response(),
            next_heartbeat_ms=self._interval_ms,
        )

    async def deregister_worker(self, message: DeregisterWorkerRequest) -> DeregisterWorkerResponse:
        try:
            self._membership.execute(Deregister(message.worker_id, message.reason, message.incarnation))
        except (UnknownWorkerError, FencedError) as error:
            self._log.debug("deregistration_refused", error=str(error))
            return DeregisterWorkerResponse(deregistered=False, response=self._refused(error))
        await self._membership.durable()
        return DeregisterWorkerResponse(deregistered=True, response=self._response())

    async def list_workers(self, message: ListWorkersRequest) -> ListWorkersResponse:
        status = None
        if message.status_filter is not None:
            status = status_from_wire(message.status_filter)
            if status is None:
                raise GRPCError(
                    GrpcStatus.INVALID_ARGUMENT,
                    f"status_filter is {int(message.status_filter)}: use HEALTHY (0), UNHEALTHY (1), "
                    "DRAINING (2) or OFFLINE (3)",
                )
        try:
            page = await page_of_workers(self._membership, status, message.limit, message.page_token)
        except InvalidError as error:
            raise GRPCError(GrpcStatus.INVALID_ARGUMENT, str(error)) from None
        async with self._listing:
            return await self._list_of(page)

    async def _list_of(self, page: Page) -> EncodedList:
        """Return the answer with the workers of `page`, or with as many of them as fit into one answer."""
        unix_ms = self._membership.wall.unix_ms
        answer, next_token = EncodedList(), page.next_token
        last_id = ""
        for workers in page.slices(self._membership):
            messages = [
                worker_to_message(worker, unix_ms(worker.last_heartbeat_s), unix_ms(worker.registered_at_s))
                for worker in workers
            ]
            added = answer.add(messages, MAX_LIST_BYTES)
            if added:
                last_id = workers[added - 1].worker_id
            if added < len(workers):
                next_token = token_after(last_id)
                break
            await trio.lowlevel.checkpoint()
        answer.end(next_token, self._response())
        return answer

    def _resources_of(self, message: ResourceInfo | None, worker_id: str) -> Resources | None:
        """Return the resources in `message`. A negative number of queries counts as 0, as some old workers
        send one and stop for good after a refused heartbeat (DESIGN 65)."""
        if message is not None and message.active_queries < 0:
            if len(self._miscounting) < _MISCOUNTING and worker_id not in self._miscounting:
                self._miscounting.add(worker_id)
                self._log.warning(
                    "negative_queries", worker_id=worker_id[:128], active_queries=message.active_queries
                )
            message = replace(message, active_queries=0)
        return resources_from_message(message)

    def _response(self, status: ResponseStatus = ResponseStatus.SUCCESS) -> StandardResponse:
        wall_ms = round(self._membership.clock.wall_s() * 1000)
        return StandardResponse(status=status, request_id=current_request_id(), timestamp=timestamp(wall_ms))

    def _refused(self, error: Exception) -> StandardResponse:
        response = self._response(ResponseStatus.FAILED)
        response.metadata = {"error": str(error)}
        return response


def _instructions(worker: Worker) -> dict[str, str]:
    action = _ACTIONS.get(worker.admin)
    return {"action": action, "reason": worker.admin_reason} if action else {}
