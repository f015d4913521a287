"""Interceptors: functions that wrap the handlers of a service, for what every call of it needs.

Authorisation, rate limits or the translation of errors are added to services, not to the server:

    def authorise(method: str, handle: HandlerFunc) -> HandlerFunc:
        async def handler(stream: AnyStream) -> None:
            if stream.context.peer.cert() is None:
                raise GRPCError(Status.UNAUTHENTICATED, "this server wants a certificate")
            await handle(stream)
        return handler

    server = Server(intercepted(services, around_each(authorise)), random=random)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from grpclib.const import Handler
from grpclib.exceptions import GRPCError

from minicloud.rpc.refusals import unwrapped
from minicloud.rpc.servable import Servable
from minicloud.rpc.server_stream import AnyStream

HandlerFunc: TypeAlias = Callable[[AnyStream], Awaitable[None]]
Interceptor: TypeAlias = Callable[[Servable], Servable]


def intercepted(services: Iterable[Servable], *interceptors: Interceptor) -> list[Servable]:
    """`services`, each wrapped by every one of `interceptors`; the first of them is the outermost."""
    wrapped = list(services)
    for interceptor in reversed(interceptors):
        wrapped = [interceptor(service) for service in wrapped]
    return wrapped


def around_each(wrap: Callable[[str, HandlerFunc], HandlerFunc]) -> Interceptor:
    """An interceptor that replaces each handler function by `wrap` of its method's path and itself."""
    return lambda service: _Intercepted(service, wrap)


def translating(translate: Callable[[Exception], GRPCError | None]) -> Interceptor:
    """An interceptor that turns exceptions of handlers into statuses, as `translate` maps them.

    An exception that `translate` has None for passes unchanged: the server takes it for a fault of ours.
    """

    def wrap(method: str, handle: HandlerFunc) -> HandlerFunc:
        async def handler(stream: AnyStream) -> None:
            try:
                await handle(stream)
            except GRPCError:
                raise
            except Exception as exc:
                error = _translated(exc, translate)
                if error is None:
                    raise
                try:
                    raise error from None
                finally:
                    del error  # whose traceback holds this frame: together they would wait for the collector

        return handler

    return around_each(wrap)


def _translated(exc: Exception, translate: Callable[[Exception], GRPCError | None]) -> GRPCError | None:
    cause = unwrapped(exc)
    return None if isinstance(cause, GRPCError) else translate(cause)


class _Intercepted:
    """A service whose handler functions are wrapped."""

    def __init__(self, service: Servable, wrap: Callable[[str, HandlerFunc], HandlerFunc]) -> None:
        self._service = service
        self._wrap = wrap

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            path: handler._replace(func=self._wrap(path, handler.func))
            for path, handler in self._service.__mapping__().items()
        }
