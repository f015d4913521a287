"""One connection of a channel and the calls on it.

Always holds: no call is opened on a connection that drains (GOAWAY) or is closed (asserted); `refused` marks
the calls that the server has rejected unprocessed, and no others
(test_call_above_the_last_of_a_goaway_is_sent_again_elsewhere_and_others_finish).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import structlog
import trio
from grpclib.const import Status

from minicloud.http2.errors import ErrorCode, error_name
from minicloud.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    StreamReset,
    WindowOpened,
)
from minicloud.http2.headers import Header, Headers
from minicloud.http2.timers import Due
from minicloud.http2.transport import Transport
from minicloud.rpc.answers import AnswerBudget
from minicloud.rpc.budget import ByteBudget
from minicloud.rpc.call import Call
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.framing import IDENTITY, Deframer
from minicloud.rpc.metadata import percent_decode, without_outer_spaces
from minicloud.rpc.status import status_of_http, status_of_reset, status_of_trailer

_log = structlog.get_logger()


class ClientCall(Call):
    """One attempt at a call: a stream, and the server's answer on it so far."""

    __slots__ = ("_forget", "headers", "refused", "trailers")

    def __init__(
        self,
        transport: Transport,
        stream_id: int,
        max_message_bytes: int,
        answers: AnswerBudget[Call],
        forget: Callable[[int], None],
    ) -> None:
        # A client has asked for what it receives, so its budget has no bound.
        super().__init__(transport, stream_id, Deframer(max_message_bytes), ByteBudget(math.inf), answers)
        self._forget = forget
        self.headers: Headers | None = None
        self.trailers: Headers | None = None  # the same as `headers` where the answer is trailers alone
        self.refused = False  # the server has not processed the call and will not

    def on_headers(self, event: HeadersReceived) -> None:
        """Keep the headers or the trailers of the answer."""
        if event.too_large:
            self.fail(Status.RESOURCE_EXHAUSTED, "the server's metadata is over the limit")
            self._connection.reset(self.stream_id, ErrorCode.CANCEL)
            return
        if self.headers is None:
            self.headers = event.headers
            first = dict(event.headers)
            self._deframer.encoding = first.get(b"grpc-encoding", IDENTITY)
            if b"grpc-status" not in first:
                self._check_http(first)
        if event.end_stream:
            self.trailers = event.headers
            self.ended = True
        self.arrived.unpark_all()

    def on_reset(self, event: StreamReset) -> None:
        """Fail the call, whose stream is over."""
        if event.reason:
            self.fail(*_malformed(event))
            return
        if event.error_code == ErrorCode.REFUSED_STREAM and self.headers is None:
            self.refused = True
        name = error_name(event.error_code)
        self.fail(status_of_reset(event.error_code), f"stream reset by the server: {name}")

    def abandon(self) -> None:
        """Reset the call's stream, where it is still open: nobody reads it any more."""
        self.fail(Status.CANCELLED, "cancelled by this end")
        self._connection.reset(self.stream_id, ErrorCode.CANCEL)
        self._transport.wake_writer()
        self._forget(self.stream_id)

    def _check_http(self, headers: dict[bytes, bytes]) -> None:
        http_status = headers.get(b":status", b"").decode("latin-1")
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        if http_status != "200":
            self.fail(status_of_http(http_status), f"HTTP status {http_status} in place of a gRPC answer")
        elif not content_type.startswith("application/grpc"):
            self.fail(Status.UNKNOWN, f"content type {content_type[:80]!r} in place of a gRPC answer")


class ClientConnection:
    """A connection over `stream`, which it closes in the end."""

    def __init__(self, stream: trio.abc.Stream, config: ChannelConfig) -> None:
        self._config = config
        self._calls: dict[int, ClientCall] = {}
        self._draining = False
        self._answers: AnswerBudget[Call] = AnswerBudget(math.inf)
        self.transport = Transport(
            stream,
            client=True,
            http2=config.http2,
            timeouts=config.timeouts,
            output=self._answers,
            repair=without_outer_spaces,
            on_event=self._on_event,
            on_due=self._on_due,
        )
        self._connection = self.transport.connection

    @property
    def usable(self) -> bool:
        """True where calls can be opened, now or when others have ended."""
        return (
            not self._draining
            and self.transport.close_reason is None
            and not self._connection.out_of_stream_ids
        )

    async def run(self) -> None:
        """Carry the connection until it ends. Raises nothing of the server's doing."""
        try:
            async with trio.open_nursery() as nursery:
                await self.transport.run(nursery)
        except Exception:
            # A fault of ours that some server has found fails its calls and not the program.
            _log.exception("rpc_connection_crashed")
        finally:
            self.transport.close("cancelled")
            for call in list(self._calls.values()):
                call.fail(Status.UNAVAILABLE, f"connection lost: {self.transport.close_reason}")
            self._calls.clear()

    async def ready(self) -> bool:
        """Wait for the server's SETTINGS; False where the connection ended without them."""
        while not self._connection.peer_ready and self.transport.close_reason is None:
            await self.transport.writable.park()
        return self.usable

    async def open_call(self, headers: Sequence[Header]) -> ClientCall | None:
        """Send a request's headers once the server grants one more stream; None where it never does."""
        while self.usable and not self._connection.can_open_stream:
            await self.transport.writable.park()
        if not self.usable:
            return None
        assert not self._draining
        stream_id = self._connection.open_stream(headers)
        call = ClientCall(
            self.transport, stream_id, self._config.max_message_bytes, self._answers, self._forget
        )
        self._calls[stream_id] = call
        self.transport.timers.idle_since_s = None
        self.transport.timers.asked(trio.current_time())
        self.transport.wake_writer()
        return call

    def retire(self) -> None:
        """Open no more calls; the connection ends with the last of those under way, or the grace."""
        self._draining = True
        # Idleness and age are not due any more once there is a grace.
        self.transport.timers.grace_ends_s = trio.current_time() + self._config.timeouts.max_age_grace_s
        self._close_if_drained()

    def close(self) -> None:
        """End the connection and the calls on it."""
        self._connection.go_away(0)
        self.transport.close("channel closed")

    def _on_event(self, event: Event) -> None:
        if isinstance(event, HeadersReceived):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.on_headers(event)
                if event.end_stream:
                    self._forget(event.stream_id)
        elif isinstance(event, DataReceived):
            call = self._calls.get(event.stream_id)
            if call is None:
                self._connection.acknowledge(event.stream_id, event.flow_bytes)
            else:
                call.on_data(event)
                if event.end_stream:
                    self._forget(event.stream_id)
        elif isinstance(event, StreamReset):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.on_reset(event)
                self._forget(event.stream_id)
            self.transport.writable.unpark_all()  # wakes a sender whose answer came before the reset
        elif isinstance(event, GoAwayReceived):
            self._on_go_away(event)
        elif isinstance(event, WindowOpened):
            self.transport.writable.unpark_all()

    def _on_go_away(self, event: GoAwayReceived) -> None:
        reason = f"server went away: {error_name(event.error_code)}"
        if event.error_code != ErrorCode.NO_ERROR:
            debug = event.debug[:100].decode("latin-1")
            _log.warning("rpc_server_sent_goaway", peer=str(self.transport.peer), reason=reason, debug=debug)
        self._draining = True
        for stream_id, call in list(self._calls.items()):
            if stream_id > event.last_stream_id:
                call.refused = True
                call.fail(Status.UNAVAILABLE, reason)
                self._forget(stream_id)
        self.transport.writable.unpark_all()
        self._close_if_drained()

    def _on_due(self, due: Due) -> None:
        self.retire()

    def _forget(self, stream_id: int) -> None:
        if self._calls.pop(stream_id, None) is None:
            return
        self.transport.writable.unpark_all()  # there is room for one more call
        if not self._calls:
            self.transport.timers.idle_since_s = trio.current_time()
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._draining and not self._calls:
            self.transport.close("drained")


def _malformed(event: StreamReset) -> tuple[Status, str]:
    """The status of a call whose answer broke the rules of HTTP/2: an error that it names, else INTERNAL."""
    headers = dict(event.answer)
    named = status_of_trailer(headers.get(b"grpc-status", b"0").decode("latin-1"))
    if named is not Status.OK:
        return named, percent_decode(headers.get(b"grpc-message", b""))
    return Status.INTERNAL, f"the server's answer broke the rules of HTTP/2: {event.reason}"
