"""Sees every message a service takes and every answer it gives, from outside the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

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


class Observer(Protocol):
    """Who is told. Called in the step in which it happens; must neither wait nor raise."""

    def took(self, message: Any) -> None:
        """The service is about to handle `message`."""

    def answered(self, message: Any, answer: Any) -> None:
        """The service has decided on `answer`."""


class Tapped(WorkerManagementServiceBase):
    """A service like `service`, overheard."""

    def __init__(self, service: WorkerManagementServiceBase, observer: Observer) -> None:
        self._service = service
        self._observer = observer

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
        self._observer.took(message)
        answer = await handle(message)
        self._observer.answered(message, answer)
        return answer
