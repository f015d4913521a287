"""Sees every message a service takes and every answer it gives, from outside the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from grpclib.const import Handler


class Observer(Protocol):
    """Who is told. Called in the step in which it happens; must neither wait nor raise."""

    def took(self, route: str, message: Any) -> None:
        """The service is about to handle `message`."""

    def answered(self, route: str, message: Any, answer: Any) -> None:
        """The service has decided on `answer`."""


class Tapped:
    """A service like `service`, overheard."""

    def __init__(self, service: Any, observer: Observer) -> None:
        self._service = service
        self._observer = observer

    def __mapping__(self) -> Mapping[str, Handler]:
        mapping: Mapping[str, Handler] = self._service.__mapping__()
        return {
            route: handler._replace(func=self._overheard(route, handler.func))
            for route, handler in mapping.items()
        }

    def _overheard(self, route: str, handle: Callable[[Any], Any]) -> Callable[[Any], Any]:
        observer = self._observer

        async def overheard(stream: Any) -> None:
            await handle(_Stream(route, stream, observer))

        return overheard


class _Stream:
    """A unary call's stream."""

    __slots__ = ("_message", "_observer", "_route", "_stream")

    def __init__(self, route: str, stream: Any, observer: Observer) -> None:
        self._route = route
        self._stream = stream
        self._observer = observer
        self._message: Any = None

    async def recv_message(self) -> Any:
        self._message = await self._stream.recv_message()
        self._observer.took(self._route, self._message)
        return self._message

    async def send_message(self, answer: Any) -> None:
        self._observer.answered(self._route, self._message, answer)
        await self._stream.send_message(answer)
