"""A wrapper of a service that notifies observers of every message and every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

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

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


class Tapped(WorkerManagementServiceBase):
    """Wraps `service` and notifies observers of its calls.

    `took` is called before it handles a message, `answered` once it has decided its answer, each in the step
    in which that happens; they must neither wait nor raise.
    """

    def __init__(
        self,
        service: WorkerManagementServiceBase,
        took: Sequence[Callable[[Any], None]],
        answered: Sequence[Callable[[Any, Any], None]],
    ) -> None:
        self._service = service
        self._took = took
        self._answered = answered

    def register_worker(self, message: RegisterWorkerRequest) -> Coroutine[Any, Any, RegisterWorkerResponse]:
        return self._overhear(self._service.register_worker, message)

    def deregister_worker(
        self, message: DeregisterWorkerRequest
    ) -> Coroutine[Any, Any, DeregisterWorkerResponse]:
        return self._overhear(self._service.deregister_worker, message)

    def heartbeat(self, message: HeartbeatRequest) -> Coroutine[Any, Any, HeartbeatResponse]:
        return self._overhear(self._service.heartbeat, message)

    def list_workers(self, message: ListWorkersRequest) -> Coroutine[Any, Any, ListWorkersResponse]:
        return self._overhear(self._service.list_workers, message)

    async def _overhear(self, handle: Callable[[RequestT], Awaitable[AnswerT]], message: RequestT) -> AnswerT:
        for took in self._took:
            took(message)
        answer = await handle(message)
        for answered in self._answered:
            answered(message, answer)
        return answer
