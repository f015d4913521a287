"""A gRPC server: connections in, handlers run.

What always holds: a handler is a task of its connection, cancelled by its deadline, the client's reset or
the connection's end; whatever it raises ends its own call and nothing else; a call counts against the limits
until its handler has returned, reset or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Protocol, TypeAlias

import structlog
import trio
from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes

from minicloud import request_id
from minicloud.rpc.budget import ByteBudget
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.events import DataReceived, Event, HeadersReceived, StreamReset, WindowOpened
from minicloud.rpc.framing import ACCEPTED_ENCODINGS, GZIP, IDENTITY, Deframer
from minicloud.rpc.metadata import Header, unindexed
from minicloud.rpc.servable import Servable
from minicloud.rpc.server_stream import RESPONSE_HEADERS, ProtoMessage, ServerStream, error_trailers
from minicloud.rpc.timeouts import decode_timeout
from minicloud.rpc.timers import Due
from minicloud.rpc.transport import Transport, peer_of

_log = structlog.get_logger()

_AnyStream: TypeAlias = ServerStream[ProtoMessage, ProtoMessage]

# The method metrics are given for a path no service has: a label that clients choose must not grow.
UNKNOWN_METHOD = "unknown"

_REQUEST_ID = request_id.HEADER.encode()


class Observer(Protocol):
    """Told of every call that reached a gRPC status. Must neither wait nor raise."""

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        """`method` is a served path, or `UNKNOWN_METHOD`."""


class RefusedError(Exception):
    """A request that gets no handler."""

    def __init__(self, status: Status, message: str, extra: Sequence[Header] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.extra = extra


class Server:
    """Serves `services` on any number of listeners or streams."""

    def __init__(
        self,
        services: Iterable[Servable],
        *,
        random: Random,
        limits: ServerLimits | None = None,
        translate: Callable[[Exception], GRPCError | None] = lambda exc: None,
        observer: Observer | None = None,
    ) -> None:
        """`random` makes request ids. `translate` says what an exception of a handler means to the client;
        None for one that means a fault of ours: UNKNOWN, its text kept from the client, one error line.
        """
        self.methods: dict[str, Handler] = {}
        for service in services:
            self.methods.update(service.__mapping__())
        self.random = random
        self.limits = limits or ServerLimits()
        self.translate = translate
        self.observer = observer
        self.open_connections = 0
        self.active_calls = 0
        self.budget = ByteBudget(self.limits.max_received_bytes)
        self._connections: dict[_ServerConnection, None] = {}  # a set with an order
        self._accepting = trio.CancelScope()
        self._stopping = False
        self._changed = trio.lowlevel.ParkingLot()

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[Sequence[trio.abc.Listener[trio.abc.Stream]]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve what `listeners` accept, and close them, until cancelled or `stop` has done its work.

        Cancelled, it drops every connection at once.
        """
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(
                    self.serve_connection, list(listeners), handler_nursery=nursery, task_status=task_status
                )

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one connected `stream` and close it. Raises nothing of the peer's doing."""
        if self.open_connections >= self.limits.max_connections or self._stopping:
            _log.warning("rpc_connection_refused", peer=str(_peer(stream)), open=self.open_connections)
            await trio.aclose_forcefully(stream)
            return
        self.open_connections += 1
        try:
            if await self._handshake(stream):
                connection = _ServerConnection(self, stream)
                self._connections[connection] = None
                try:
                    await connection.run()
                finally:
                    del self._connections[connection]
        except Exception:
            # A fault of ours that some peer has found: it costs the others nothing.
            _log.exception("rpc_connection_crashed")
        finally:
            self.open_connections -= 1
            self._changed.unpark_all()

    async def stop(self, grace_s: float) -> None:
        """Accept no more connections and calls, and return when those in flight have finished.

        What has not within `grace_s` is cancelled. Clients are told in a way that loses no call.
        """
        self._stopping = True
        self._accepting.cancel()
        for connection in list(self._connections):
            connection.drain(grace_s)
        while self._connections:
            await self._changed.park()

    async def _handshake(self, stream: trio.abc.Stream) -> bool:
        """TLS, where there is some; False if it came to nothing."""
        if not isinstance(stream, trio.SSLStream):
            return True
        reason = "TLS handshake timed out"
        with trio.move_on_after(self.limits.timeouts.handshake_s):
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as exc:
                reason = f"TLS handshake failed: {exc.__cause__ or exc}"
            else:
                if stream.selected_alpn_protocol() != "h2":
                    reason = "TLS client does not offer h2 by ALPN"
                elif self._stopping:
                    reason = "server is stopping"
                else:
                    return True
        _log.warning("rpc_connection_dropped", peer=str(_peer(stream)), reason=reason)
        await trio.aclose_forcefully(stream)
        return False


class _ServerConnection:
    """One connection and the calls on it."""

    def __init__(self, server: Server, stream: trio.abc.Stream) -> None:
        self._server = server
        self._calls: dict[int, _AnyStream] = {}
        self._transport = Transport(
            stream,
            client=False,
            http2=server.limits.http2,
            timeouts=server.limits.timeouts,
            on_event=self._on_event,
            on_due=self._on_due,
        )
        self._connection = self._transport.connection
        self._nursery: trio.Nursery
        self._drained = False

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            await self._transport.run(self._nursery)

    def drain(self, grace_s: float) -> None:
        self._transport.drain(grace_s, self._on_drained)

    def _on_drained(self) -> None:
        self._drained = True
        if not self._calls:
            self._transport.close("drained")

    def _on_due(self, due: Due) -> None:
        self.drain(self._server.limits.timeouts.max_age_grace_s)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            self._on_headers(event)
        elif isinstance(event, DataReceived):
            call = self._calls.get(event.stream_id)
            if call is None:
                self._connection.acknowledge(event.stream_id, event.flow_bytes)
            else:
                call.on_data(event)
        elif isinstance(event, StreamReset):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.fail(Status.CANCELLED, "cancelled by the client")
                call.scope.cancel()
        elif isinstance(event, WindowOpened) and self._transport.writable:
            self._transport.writable.unpark_all()

    # A request

    def _on_headers(self, event: HeadersReceived) -> None:
        stream_id, server = event.stream_id, self._server
        call = self._calls.get(stream_id)
        if call is not None:  # request trailers, which gRPC does not have
            call.on_end()
            return
        limits = server.limits
        if (
            self._drained
            or len(self._calls) >= limits.http2.max_concurrent_streams
            or server.active_calls >= limits.max_calls
        ):
            failed = self._connection.refuse(stream_id)
            if failed is not None:
                self._transport.fail(failed)
            return
        headers = dict(event.headers)
        http_status = _http_error(headers)
        if http_status is not None:
            self._reply(stream_id, [(b":status", http_status)])
            return

        def header(name: str) -> str | None:
            value = headers.get(name.encode())
            return None if value is None else value.decode("latin-1")

        request = request_id.request_id_of(header, server.random)
        request_header = unindexed(_REQUEST_ID, request.encode())
        try:
            call = self._open_call(event, headers, request_header)
        except RefusedError as exc:
            trailers = error_trailers(exc.status, exc.message)
            self._reply(stream_id, [*RESPONSE_HEADERS, request_header, *exc.extra, *trailers])
            if server.observer is not None:
                path = headers[b":path"].decode("latin-1")
                known = path if path in server.methods else UNKNOWN_METHOD
                server.observer.on_call_finished(known, exc.status, 0.0)
            return
        self._calls[stream_id] = call
        server.active_calls += 1
        self._transport.timers.idle_since_s = None
        self._nursery.start_soon(self._run_call, call, server.methods[call.method], request)

    def _open_call(
        self, event: HeadersReceived, headers: dict[bytes, bytes], request_header: Header
    ) -> _AnyStream:
        if event.too_large:
            limit = self._server.limits.http2.max_header_list_bytes
            raise RefusedError(Status.RESOURCE_EXHAUSTED, f"metadata is over the limit of {limit} bytes")
        path = headers[b":path"].decode("latin-1")
        handler = self._server.methods.get(path)
        if handler is None:
            raise RefusedError(Status.UNIMPLEMENTED, f"no such method: {path[:200]}")
        encoding = headers.get(b"grpc-encoding", IDENTITY)
        if encoding not in (IDENTITY, GZIP):
            raise RefusedError(
                Status.UNIMPLEMENTED,
                f"grpc-encoding {encoding[:40].decode('latin-1')} is not one of identity, gzip",
                [(b"grpc-accept-encoding", ACCEPTED_ENCODINGS)],
            )
        deadline_s = math.inf
        timeout = headers.get(b"grpc-timeout")
        if timeout is not None:
            try:
                deadline_s = trio.current_time() + decode_timeout(timeout.decode("latin-1"))
            except ValueError as exc:
                raise RefusedError(Status.INVALID_ARGUMENT, str(exc)) from None
        call: _AnyStream = ServerStream(
            self._transport,
            event.stream_id,
            Deframer(self._server.limits.max_message_bytes, encoding),
            self._server.budget,
            method=path,
            cardinality=handler.cardinality,
            recv_type=handler.request_type,
            send_type=handler.reply_type,
            headers=event.headers,
            request_id=request_header,
            deadline_s=deadline_s,
        )
        call.ended = event.end_stream
        return call

    def _reply(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Answer with headers alone."""
        self._connection.send_headers(stream_id, headers, end_stream=True)
        self._connection.reset(stream_id, ErrorCodes.NO_ERROR)

    # A call

    async def _run_call(self, call: _AnyStream, handler: Handler, request: str) -> None:
        server = self._server
        started_s = trio.current_time()
        # Not undone: the binding lives in this task's own context and ends with it.
        request_id.bind_request_id(request)
        try:
            failure: Exception | None = None
            try:
                with call.scope:
                    await handler.func(call)
            except Exception as exc:
                failure = exc
            if call.failure is not None:
                call.status = call.status or Status.CANCELLED
            elif call.scope.cancel_called and (call.scope.cancelled_caught or failure is not None):
                call.finish(Status.DEADLINE_EXCEEDED, "deadline exceeded")
            elif failure is not None:
                self._finish_failed(call, failure)
            elif call.status is None and call.lacks_reply:
                _log.error("rpc_handler_sent_no_reply", method=call.method)
                call.finish(Status.INTERNAL, "the server sent no reply")
            else:
                call.finish(Status.OK)
        finally:
            call.release()
            del self._calls[call.stream_id]
            server.active_calls -= 1
            now_s = trio.current_time()
            if not self._calls:
                self._transport.timers.idle_since_s = now_s
                if self._drained:
                    self._transport.close("drained")
            if server.observer is not None:
                ended = call.status or Status.CANCELLED
                server.observer.on_call_finished(call.method, ended, now_s - started_s)

    def _finish_failed(self, call: _AnyStream, exc: Exception) -> None:
        """End a call whose handler raised."""
        cause: BaseException = exc
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]  # out of a nursery of the handler's own
        try:
            known = cause if isinstance(cause, GRPCError) else None
            if known is None and isinstance(cause, Exception):
                known = self._server.translate(cause)
            if known is not None:
                call.finish(known.status, known.message, known.details)
                return
        except Exception as also:  # details that cannot be sent, a translation that fails
            exc = also
        _log.error("rpc_handler_failed", method=call.method, exc_info=exc)
        call.finish(Status.UNKNOWN, "internal server error")


def _http_error(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The HTTP status of a request that is none of gRPC's; None for one that is."""
    if headers.get(b":method") != b"POST":
        return b"405"
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip()
    if content_type not in (b"application/grpc", b"application/grpc+proto"):
        return b"415"
    return None


def _peer(stream: trio.abc.Stream) -> object:
    """The address of a stream whose TLS, if any, has not been set up."""
    return peer_of(stream.transport_stream if isinstance(stream, trio.SSLStream) else stream)
