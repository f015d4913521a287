"""One HTTP/2 connection, sans-io: bytes in, events out; calls to send, bytes out.

The engine (`engine`) does HTTP/2 itself. In front of it, on the frame headers alone, this module counts
floods, refuses oversized frames before they are buffered, cuts a reading into turns, and handles GOAWAY,
after which h2 would refuse to carry on the streams in flight. The time is passed in.

Always holds:
- `receive` raises nothing whatever the bytes, and keeps one frame and one header block of them at most beyond
  what it was given (tests/unit/http2/test_connection_fuzz.py).
- A mistake on one stream ends that stream alone (tests/unit/rpc/test_stream_faults.py; DESIGN 66).
- Sending on a stream that has ended does nothing, because the peer's reset may sit in the same bytes as the
  event being answered (test_answer_to_a_stream_reset_in_the_same_bytes_does_nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minicloud.http2 import frames
from minicloud.http2.config import Http2Limits
from minicloud.http2.engine import Engine, EngineEvent, SettingsReceived, StreamFailed
from minicloud.http2.errors import ErrorCode, PeerError
from minicloud.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadersReceived,
    StreamReset,
    WindowOpened,
)
from minicloud.http2.floods import FloodGuard
from minicloud.http2.headers import Header, Headers, HeadersKind, header_list_bytes, malformation
from minicloud.http2.streams import StreamEvent, Streams

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# The work of one turn, after which other connections have theirs: about 2 ms (DESIGN 67). A frame costs some
# 20 us, a header block and what a request leads to some 200.
_TURN_COST = 100
_COSTS = {frames.HEADERS: 10, frames.PUSH_PROMISE: 10}

# The types of frames that this module handles in some cases.
_OURS = (frames.GOAWAY, frames.WINDOW_UPDATE)


def _unchanged(headers: Headers) -> Headers:
    return headers


class Connection:
    """Either end of a connection."""

    def __init__(
        self,
        *,
        client: bool,
        limits: Http2Limits,
        now_s: float,
        repair: Callable[[Headers], Headers] = _unchanged,
    ) -> None:
        """`now_s` is any monotonic time in seconds.

        `repair` gets received headers that are malformed and returns those to use in their place, where the
        protocol above forgives what HTTP/2 does not.
        """
        self.failed = False
        self.peer_ready = False  # its SETTINGS have arrived
        self.frames_received = 0
        self.has_more = False  # whole frames wait for the next turn
        self._client = client
        self._now_s = now_s
        self._repair = repair
        self._guard = FloodGuard(limits, now_s)
        self._max_header_list_bytes = limits.max_header_list_bytes
        self._preface_left = b"" if client else PREFACE
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self.output_bytes = 0
        self._streams = Streams()
        self._engine = Engine(client=client, limits=limits)
        self._collect()

    # Receiving

    def receive(self, data: bytes | bytearray, now_s: float) -> list[Event]:
        """Take in `data`, the next bytes from the peer; returns one turn's events, none after a failure.

        A turn does a bounded amount of work. While `has_more` holds afterwards, call again, without data.
        """
        events: list[Event] = []
        if self.failed:
            return events
        self._now_s = now_s
        try:
            try:
                self._receive_frames(data)
            finally:
                self._take_events(events)
        except PeerError as exc:
            events.append(self._refuse_peer(exc))
        else:
            self._collect()
        return events

    def _receive_frames(self, data: bytes | bytearray) -> None:
        """Pass the whole frames that have arrived to the engine, without GOAWAYs, up to a turn's work."""
        inbox = self._inbox
        inbox += data
        if self._preface_left and not self._receive_preface():
            return
        self.has_more = False
        start = position = cost = 0
        available = len(inbox)
        while available - position >= frames.HEADER_BYTES:
            length = inbox[position] << 16 | inbox[position + 1] << 8 | inbox[position + 2]
            kind = inbox[position + 3]
            if length > frames.MAX_FRAME_BYTES:
                self._feed(inbox[start:position])
                raise PeerError(f"frame of {length} bytes", ErrorCode.FRAME_SIZE_ERROR)
            end = position + frames.HEADER_BYTES + length
            if end > available:
                break
            if cost >= _TURN_COST:
                self.has_more = True
                break
            cost += _COSTS.get(kind, 1)
            flags = inbox[position + 4]
            empty = kind == frames.DATA and self._is_empty(flags, position, length)
            self.frames_received += 1
            self._guard.received(kind, flags, length, self._now_s, empty=empty)
            if kind in _OURS and self._is_for_us(kind, position, length):
                self._feed(inbox[start:position])
                self._take(kind, inbox[position:end])
                start = end
            position = end
        self._feed(inbox[start:position])
        del inbox[:position]

    def _is_empty(self, flags: int, position: int, length: int) -> bool:
        """Tell if the DATA at `position` of the inbox has nothing but padding, and ends no stream."""
        padded = flags & frames.PADDED and length
        padding = self._inbox[position + frames.HEADER_BYTES] + 1 if padded else 0
        return length <= padding and not flags & frames.END_STREAM

    def _is_for_us(self, kind: int, position: int, length: int) -> bool:
        """Tell if the frame at `position` of the inbox is handled here."""
        if self._guard.in_header_block:
            return False  # the engine ends the connection for a frame of another kind there
        if kind == frames.WINDOW_UPDATE:
            return length == 4 and not frames.number(self._inbox, position + frames.HEADER_BYTES)
        return kind == frames.GOAWAY and length >= 8

    def _take(self, kind: int, frame: bytearray) -> None:
        """Handle a frame for which h2 ends the connection, or after which it refuses to go on."""
        stream_id = frames.number(frame, frames.STREAM_AT)
        if kind == frames.GOAWAY:
            if stream_id:
                raise PeerError("GOAWAY on a stream", ErrorCode.PROTOCOL_ERROR)
            self._engine.happened.append(frames.parse_goaway(frame[frames.HEADER_BYTES :]))
        elif not stream_id or not self._engine.has_seen(stream_id):
            self._feed(frame)
        elif self._engine.is_open(stream_id):
            self._engine.fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")

    def _receive_preface(self) -> bool:
        """Take the client's preface off; False while it is incomplete."""
        expected = self._preface_left
        if not expected.startswith(self._inbox[: len(expected)]):
            raise PeerError("not HTTP/2", ErrorCode.PROTOCOL_ERROR)
        if len(self._inbox) < len(expected):
            return False
        self._engine.receive(expected)
        self._preface_left = b""
        del self._inbox[: len(expected)]
        return True

    def _feed(self, data: bytearray) -> None:
        if data:
            self._engine.receive(data)

    def _take_events(self, events: list[Event]) -> None:
        """Move the engine's events to `events`. Raises PeerError where they amount to a flood."""
        for event in self._engine.take_events():
            take = _HANDLERS.get(event.__class__)
            if take is None:
                events.append(event)  # type: ignore[arg-type]
            else:
                take(self, event, events)

    def _refuse_peer(self, exc: PeerError) -> ConnectionFailed:
        """End the connection for a rule that the peer broke."""
        self.go_away(self.highest_received_stream_id, exc.error_code, exc.debug)
        self._end()
        return ConnectionFailed(exc.error_code, str(exc))

    def _end(self) -> None:
        """Receive nothing more, and send no more than what is queued."""
        self.failed = True
        self.has_more = False
        self._inbox.clear()
        self._streams.clear()

    def _on_headers(self, event: HeadersReceived, events: list[Event]) -> None:
        stream_id, kind = event.stream_id, event.kind
        if kind is HeadersKind.REQUEST:
            self._streams.open(stream_id)
        if event.end_stream:
            self._streams.apply(stream_id, StreamEvent.RECEIVED_END)
        problem = malformation(event.headers, kind)
        if problem:
            event.headers = self._repair(event.headers)
            problem = malformation(event.headers, kind)
        if problem:
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
            answer = () if kind is HeadersKind.REQUEST else event.headers
            events.append(StreamReset(stream_id, ErrorCode.PROTOCOL_ERROR, f"malformed: {problem}", answer))
            self._guard.junk(self._now_s)
            return
        event.too_large = header_list_bytes(event.headers) > self._max_header_list_bytes
        events.append(event)

    def _on_data(self, event: DataReceived, events: list[Event]) -> None:
        if event.end_stream:
            self._streams.apply(event.stream_id, StreamEvent.RECEIVED_END)
        events.append(event)

    def _on_reset(self, event: StreamReset, events: list[Event]) -> None:
        self._streams.apply(event.stream_id, StreamEvent.RESET)
        events.append(event)

    def _on_failed(self, event: StreamFailed, events: list[Event]) -> None:
        self._streams.apply(event.stream_id, StreamEvent.RESET)
        events.append(StreamReset(event.stream_id, event.error_code, event.reason))
        self._guard.junk(self._now_s)

    def _on_settings(self, event: SettingsReceived, events: list[Event]) -> None:
        self.peer_ready = True
        events.append(WindowOpened())

    # Sending

    @property
    def highest_received_stream_id(self) -> int:
        """The highest stream the peer has opened; 0 if it has opened none."""
        return self._engine.highest_received_stream_id

    @property
    def open_streams(self) -> int:
        """The number of streams that are open, in whole or by half."""
        return len(self._streams)

    @property
    def can_open_stream(self) -> bool:
        """True where a client may open one more stream: the peer grants it and there is an id for it."""
        return (
            not self.failed and len(self._streams) < self._engine.max_streams and not self.out_of_stream_ids
        )

    @property
    def out_of_stream_ids(self) -> bool:
        """True where a client has used up its 2**30 streams and needs a new connection."""
        return self._engine.highest_opened_stream_id >= frames.MAX_STREAM_ID - 2

    def open_stream(self, headers: Sequence[Header]) -> int:
        """Send a request's headers on a new stream, whose id it returns. `can_open_stream` must hold."""
        stream_id = self._engine.open_stream(headers)
        self._streams.open(stream_id)
        self._guard.sent_call_frame()
        self._collect()
        return stream_id

    def send_headers(self, stream_id: int, headers: Sequence[Header], *, end_stream: bool = False) -> None:
        """Send response headers, or trailers, which end the stream."""
        if stream_id not in self._streams:
            return
        self._engine.send_headers(stream_id, headers, end_stream)
        self._guard.sent_call_frame()
        if end_stream:
            self._streams.apply(stream_id, StreamEvent.SENT_END)
        self._collect()

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool = False) -> int:
        """Send as much of `data` as fits one frame and the peer's windows; returns the bytes sent.

        `end_stream` ends the stream with the last byte of `data`, or at once where there is no `data`. On a
        stream that is over, all of `data` counts as sent.
        """
        if stream_id not in self._streams:
            return len(data)
        fits = self._engine.room_bytes(stream_id)
        if data and fits < len(data):
            if fits <= 0:
                return 0
            data, end_stream = data[:fits], False
        self._engine.send_data(stream_id, data, end_stream)
        self._guard.sent_call_frame()
        if end_stream:
            self._streams.apply(stream_id, StreamEvent.SENT_END)
        self._collect()
        return len(data)

    def reset(self, stream_id: int, error_code: int) -> None:
        """End the stream at once, both ways."""
        if not self._streams.apply(stream_id, StreamEvent.RESET):
            return
        self._engine.reset(stream_id, error_code)
        self._collect()

    def refuse(self, stream_id: int) -> ConnectionFailed | None:
        """Reset a stream beyond the limit; the peer may try again. Returns the failure of a flood of them."""
        self.reset(stream_id, ErrorCode.REFUSED_STREAM)
        return self._counted(self._guard.refused)

    def count_junk(self) -> ConnectionFailed | None:
        """Count a request that could never be served. Returns the failure of a flood of them."""
        return self._counted(self._guard.junk)

    def _counted(self, count: Callable[[float], None]) -> ConnectionFailed | None:
        if self.failed:
            return None
        try:
            count(self._now_s)
        except PeerError as exc:
            return self._refuse_peer(exc)
        return None

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Return received bytes to the peer's windows; of a stream that is over, to the connection's."""
        if flow_bytes and not self.failed:
            self._engine.acknowledge(stream_id, flow_bytes)
            self._collect()

    def ping(self, payload: bytes) -> None:
        """Ask for a `PingAcked` with these eight bytes."""
        if not self.failed:
            self._engine.ping(payload)
            self._collect()

    def go_away(self, last_stream_id: int, error_code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Send GOAWAY: the peer opens no more streams, and those up to `last_stream_id` go on."""
        if not self.failed:
            self._collect()
            self._queue(frames.goaway(last_stream_id, error_code, debug))

    def close(self) -> None:
        """Free what is held; nothing can be received or sent any more."""
        self._end()
        self._outbox.clear()
        self.output_bytes = 0
        self._engine.close()

    def data_to_send(self) -> bytes:
        """All that waits to go to the peer, handed out once."""
        data = b"".join(self._outbox)
        self._outbox.clear()
        self.output_bytes = 0
        return data

    def _collect(self) -> None:
        data = self._engine.data_to_send()
        if data:
            self._queue(data)

    def _queue(self, data: bytes) -> None:
        self._outbox.append(data)
        self.output_bytes += len(data)


# The engine's other events are the owner's as they are.
_HANDLERS: dict[type[EngineEvent], Callable[[Connection, Any, list[Event]], None]] = {
    HeadersReceived: Connection._on_headers,
    DataReceived: Connection._on_data,
    StreamReset: Connection._on_reset,
    StreamFailed: Connection._on_failed,
    SettingsReceived: Connection._on_settings,
}
