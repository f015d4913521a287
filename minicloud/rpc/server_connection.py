"""One connection of a gRPC server, and the calls on it.

Always holds:
- A handler is a task of its connection. Its deadline, the client's reset and the end of the connection cancel
  it (test_deadline_of_the_client_ends_the_handler, test_connection_lost_cancels_its_handlers).
- An exception of a handler ends its own call and nothing else
  (test_error_that_cannot_be_sent_fails_its_own_call_only).
- A call counts against the limits until its handler has returned, reset or not
  (test_reset_calls_count_until_their_handlers_have_ended).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Protocol

import structlog
import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from minicloud.http2.errors import ErrorCode
from minicloud.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadersReceived,
    StreamReset,
    WindowOpened,
)
from minicloud.http2.headers import Header
from minicloud.http2.peer import Peer
from minicloud.http2.timers import Due
from minicloud.http2.transport import Transport
from minicloud.request_id import bind_request_id, request_id_of
from minicloud.rpc.admission import Admission, PeerShare
from minicloud.rpc.answers import AnswerBudget
from minicloud.rpc.budget import ByteBudget
from minicloud.rpc.call import Call
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.context import CallContext, bind_call
from minicloud.rpc.framing import ACCEPTED_ENCODINGS, ENCODINGS, IDENTITY, Deframer
from minicloud.rpc.metadata import without_outer_spaces
from minicloud.rpc.refusals import CallRefusedError, Cause, RefusedError, unwrapped
from minicloud.rpc.server_stream import (
    RESPONSE_HEADERS,
    AnyStream,
    ServerStream,
    error_trailers,
    request_id_header,
)
from minicloud.rpc.timeouts import decode_timeout

_log = structlog.get_logger()

# The method of metrics for a path that no service has. A label that clients choose would grow without end.
UNKNOWN_METHOD = "unknown"


class CallObserver(Protocol):
    """Counts calls that have ended."""

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        """Count one call."""


class Host(Protocol):
    """The part of a server that its connections need."""

    @property
    def observer(self) -> CallObserver | None:
        """Counts the calls; None for no count."""

    limits: ServerLimits
    methods: dict[str, Handler]
    random: Random
    budget: ByteBudget
    answers: AnswerBudget[Call]
    admission: Admission[Call]

    def refused(self, cause: Cause, peer: Peer, **details: object) -> None:
        """Count a call that was refused, and log the cause."""

    def count_refusal(self, cause: Cause) -> None:
        """Count a refusal that is logged elsewhere."""


class ServerConnection:
    """A connection over `stream`, which counts against `share`."""

    def __init__(self, server: Host, stream: trio.abc.Stream, share: PeerShare[Call]) -> None:
        self._server = server
        self._share = share
        self._calls: dict[int, AnyStream] = {}
        self._transport = Transport(
            stream,
            client=False,
            http2=server.limits.http2,
            timeouts=server.limits.timeouts,
            output=server.answers,
            repair=without_outer_spaces,
            on_event=self._on_event,
            on_due=self._on_due,
        )
        self._connection = self._transport.connection
        self._nursery: trio.Nursery
        self._drained = False

    async def run(self) -> None:
        """Carry the connection until it ends. No conduct of the client makes it raise."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._transport.run(self._nursery)
        finally:
            del self._nursery
            if self._transport.fault is not None:
                self._server.count_refusal(Cause(self._transport.fault.value))

    def drain(self, grace_s: float) -> None:
        """Take no more calls, and end with the last of those in flight; after `grace_s` at the latest."""
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
            if event.reason:
                self._server.refused(Cause.MALFORMED, self._transport.peer, detail=event.reason)
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.fail(Status.CANCELLED, event.reason or "cancelled by the client")
                call.scope.cancel()
        elif isinstance(event, WindowOpened) and self._transport.writable:
            self._transport.writable.unpark_all()

    # Requests

    def _on_headers(self, event: HeadersReceived) -> None:
        stream_id, server = event.stream_id, self._server
        call = self._calls.get(stream_id)
        if call is not None:  # trailers of a request, which gRPC does not have, end it
            call.on_end()
            return
        headers = dict(event.headers)
        path = headers[b":path"].decode("latin-1")
        handler = server.methods.get(path)
        stays_open = handler is not None and _stays_open(handler)
        obstacle = self._obstacle(stays_open)
        if obstacle is not None:
            server.refused(obstacle, self._transport.peer)
            self._fail(self._connection.refuse(stream_id))
            return
        http_status = _http_error(headers)
        if http_status is not None:
            self._reply(stream_id, [(b":status", http_status)])
            server.refused(Cause.NOT_GRPC, self._transport.peer, http_status=http_status.decode())
            self._fail(self._connection.count_junk())
            return

        def header(name: str) -> str | None:
            value = headers.get(name.encode())
            return None if value is None else value.decode("latin-1")

        request = request_id_of(header, server.random)
        try:
            call = self._open_call(event, headers, path, handler, request)
        except RefusedError as exc:
            method = UNKNOWN_METHOD if handler is None else path
            self._refuse_with_status(stream_id, exc, request, method)
            return
        self._calls[stream_id] = call
        server.admission.begin(self._share, stream=stays_open)
        self._transport.timers.idle_since_s = None
        assert handler is not None
        self._nursery.start_soon(self._run_call, call, handler)
        if not event.end_stream:
            waited = server.admission.wait(self._share, call)
            if waited is not None:
                waited.give_up(
                    Cause.WAITING, Status.UNAVAILABLE, "too many calls wait for their first message"
                )

    def _obstacle(self, stays_open: bool) -> Cause | None:
        """The cause to refuse one more call; None where there is none."""
        if self._drained:
            return Cause.STOPPING
        if len(self._calls) >= self._server.limits.http2.max_concurrent_streams:
            return Cause.CONNECTION_CALLS
        return self._server.admission.obstacle(self._share, stream=stays_open)

    def _fail(self, failed: ConnectionFailed | None) -> None:
        if failed is not None:
            self._transport.fail(failed)

    def _refuse_with_status(self, stream_id: int, exc: RefusedError, request: str, method: str) -> None:
        """Answer a request that can never be served, and count it."""
        server = self._server
        trailers = error_trailers(exc.status, exc.message)
        self._reply(stream_id, [*RESPONSE_HEADERS, request_id_header(request), *exc.extra, *trailers])
        if server.observer is not None:
            server.observer.on_call_finished(method, exc.status, 0.0)
        server.refused(exc.cause, self._transport.peer, error=exc.message)
        self._fail(self._connection.count_junk())

    def _open_call(
        self,
        event: HeadersReceived,
        headers: dict[bytes, bytes],
        path: str,
        handler: Handler | None,
        request: str,
    ) -> AnyStream:
        if event.too_large:
            limit = self._server.limits.http2.max_header_list_bytes
            raise RefusedError(
                Cause.METADATA, Status.RESOURCE_EXHAUSTED, f"metadata is over the limit of {limit} bytes"
            )
        if handler is None:
            raise RefusedError(Cause.UNKNOWN_METHOD, Status.UNIMPLEMENTED, f"no such method: {path[:200]}")
        encoding = headers.get(b"grpc-encoding", IDENTITY)
        if encoding not in ENCODINGS:
            raise RefusedError(
                Cause.ENCODING,
                Status.UNIMPLEMENTED,
                f"grpc-encoding {encoding[:40].decode('latin-1')} is not one of identity, deflate, gzip",
                [(b"grpc-accept-encoding", ACCEPTED_ENCODINGS)],
            )
        now_s, deadline_s = trio.current_time(), math.inf
        timeout = headers.get(b"grpc-timeout")
        if timeout is not None:
            try:
                deadline_s = now_s + decode_timeout(timeout.decode("latin-1"))
            except ValueError as exc:
                raise RefusedError(Cause.TIMEOUT, Status.INVALID_ARGUMENT, str(exc)) from None
        call: AnyStream = ServerStream(
            self._transport,
            event.stream_id,
            Deframer(self._server.limits.max_message_bytes, encoding),
            self._server.budget,
            self._server.answers,
            context=CallContext(
                method=path,
                peer=self._transport.peer,
                headers=event.headers,
                deadline_s=deadline_s,
                request_id=request,
            ),
            cardinality=handler.cardinality,
            recv_type=handler.request_type,
            send_type=handler.reply_type,
            message_by_s=now_s + self._server.limits.first_message_s,
            admission=self._server.admission,
            peer_share=self._share,
        )
        if event.end_stream:
            call.on_end()
        return call

    def _reply(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Answer with headers alone, and end the stream."""
        self._connection.send_headers(stream_id, headers, end_stream=True)
        self._connection.reset(stream_id, ErrorCode.NO_ERROR)

    # Calls

    async def _run_call(self, call: AnyStream, handler: Handler) -> None:
        server = self._server
        started_s = trio.current_time()
        # The bindings are in this task's own context and end with it.
        bind_request_id(call.context.request_id)
        bind_call(call.context)
        try:
            failure: Exception | None = None
            try:
                with call.scope:
                    await handler.func(call)
            except Exception as exc:
                failure = exc
            if call.failure is not None:
                call.status = call.status or call.failure[0]
                if call.cause is not None:
                    server.refused(call.cause, self._transport.peer, method=call.context.method)
            elif call.scope.cancel_called and (call.scope.cancelled_caught or failure is not None):
                call.finish(Status.DEADLINE_EXCEEDED, "deadline exceeded")
            elif failure is not None:
                self._finish_failed(call, failure)
            elif call.status is None and call.lacks_reply:
                _log.error("rpc_handler_sent_no_reply", method=call.context.method)
                call.finish(Status.INTERNAL, "the server sent no reply")
            else:
                call.finish(Status.OK)
        finally:
            failure = None  # its traceback holds this frame: together they would wait for the collector
            call.release()
            del self._calls[call.stream_id]
            server.admission.end(self._share, call, stream=_stays_open(handler))
            now_s = trio.current_time()
            if not self._calls:
                self._transport.timers.idle_since_s = now_s
                if self._drained:
                    self._transport.close("drained")
            if server.observer is not None:
                ended = call.status or Status.CANCELLED
                server.observer.on_call_finished(call.context.method, ended, now_s - started_s)

    def _finish_failed(self, call: AnyStream, exc: Exception) -> None:
        """End a call whose handler raised: with the status of a GRPCError, else as a fault of ours."""
        method, error = call.context.method, unwrapped(exc)
        if isinstance(error, CallRefusedError):
            self._server.refused(error.cause, self._transport.peer, method=method, error=error.message)
        if isinstance(error, GRPCError):
            try:
                call.finish(error.status, error.message, error.details)
                return
            except Exception as also:  # details that cannot be sent
                _log.error("rpc_handler_failed", method=method, exc_info=also)
        else:
            _log.error("rpc_handler_failed", method=method, exc_info=exc)
        call.finish(Status.UNKNOWN, "internal server error")


def _http_error(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The HTTP status that refuses a request which is not gRPC; None for one that is."""
    if headers.get(b":method") != b"POST":
        return b"405"
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip()
    if content_type not in (b"application/grpc", b"application/grpc+proto"):
        return b"415"
    return None


def _stays_open(handler: Handler) -> bool:
    """True for methods whose calls may stay open: all but those of one message each way."""
    return handler.cardinality is not Cardinality.UNARY_UNARY
