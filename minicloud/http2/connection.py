"""One HTTP/2 connection, sans-io: bytes in, events out; calls to send, bytes out.

What always holds: `receive` raises nothing whatever the bytes; what it keeps of them is bounded by one frame
and one header block beyond what it was given; what is wrong with one stream ends that stream alone; sending
on a stream that has ended meanwhile does nothing, because the peer's reset may sit in the same bytes as the
event being answered. Knows no clock (time is passed in), no socket, no gRPC.

The engine is h2 (`engine`). In front of it, on the frame headers alone: floods are counted, oversized frames
are refused before they are buffered, a reading is cut into turns, and GOAWAY is kept from h2, which would
refuse to carry on the calls in flight after one, sent or received.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import h2.events
import h2.exceptions
from h2.errors import ErrorCodes

from minicloud.http2 import floods, frames
from minicloud.rpc.config import Http2Limits
from minicloud.http2.engine import Engine, StreamFailed
from minicloud.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    StreamReset,
    WindowOpened,
)
from minicloud.rpc.metadata import Header, Headers, header_list_bytes, malformation, without_outer_spaces

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# The work of one turn, after which other connections have theirs: about 2 ms. A frame costs some 20 us, a
# header block and what a request leads to some 200.
_TURN_COST = 100
_COSTS = {frames.HEADERS: 10, frames.PUSH_PROMISE: 10}

# Frames some of which are kept from the engine.
_OURS = (frames.GOAWAY, frames.WINDOW_UPDATE)

_HPACK_TABLE_BYTES = 4096

_LOCAL_ENDED = 1
_REMOTE_ENDED = 2


class Connection:
    """Either end of a connection. `now_s` is any monotonic time in seconds."""

    def __init__(self, *, client: bool, limits: Http2Limits, now_s: float) -> None:
        self.failed = False
        self.peer_ready = False  # its SETTINGS have arrived
        self.frames_received = 0
        self.has_more = False  # whole frames wait for the next turn
        self._client = client
        self._now_s = now_s
        self._guard = floods.FloodGuard(limits, now_s)
        self._max_header_list_bytes = limits.max_header_list_bytes
        self._preface_left = b"" if client else PREFACE
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self.output_bytes = 0
        self._streams: dict[int, int] = {}  # open ones, and which of their sides have ended
        self._h2 = Engine(client=client, limits=limits)
        self._collect()

    # Receiving

    def receive(self, data: bytes | bytearray, now_s: float) -> list[Event]:
        """The events of one turn with `data`, the next bytes from the peer. None after a failure.

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
                self._translate(events)
        except h2.exceptions.ProtocolError as exc:
            self._collect()  # h2 has queued the GOAWAY
            events.append(self._fail(exc.error_code, str(exc)))
        except floods.PeerError as exc:
            events.append(self._refuse_peer(exc))
        else:
            self._collect()
        return events

    def _receive_frames(self, data: bytes | bytearray) -> None:
        """Hand the engine the whole frames of what has arrived, GOAWAYs taken out, up to a turn's work."""
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
                raise floods.PeerError(f"frame of {length} bytes", ErrorCodes.FRAME_SIZE_ERROR)
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
        """Whether the DATA at `position` of the inbox has nothing but padding, and ends nothing."""
        padded = flags & frames.PADDED and length
        padding = self._inbox[position + frames.HEADER_BYTES] + 1 if padded else 0
        return length <= padding and not flags & frames.END_STREAM

    def _is_for_us(self, kind: int, position: int, length: int) -> bool:
        """Whether the frame at `position` of the inbox is handled here."""
        if self._guard.in_header_block:
            return False  # which the engine ends the connection for
        if kind == frames.WINDOW_UPDATE:
            return length == 4 and not frames.number(self._inbox, position + frames.HEADER_BYTES)
        return kind == frames.GOAWAY and length >= 8

    def _take(self, kind: int, frame: bytearray) -> None:
        """Handle a frame that h2 ends the connection for, or would not go on after."""
        stream_id = frames.number(frame, frames.STREAM_AT)
        if kind == frames.GOAWAY:
            if stream_id:
                raise floods.PeerError("GOAWAY on a stream", ErrorCodes.PROTOCOL_ERROR)
            self._h2.happened.append(frames.parse_goaway(frame[frames.HEADER_BYTES :]))
        elif not stream_id or not self._h2.has_seen(stream_id):
            self._feed(frame)
        elif stream_id in self._h2.streams:
            self._h2.fail_stream(stream_id, ErrorCodes.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")

    def _receive_preface(self) -> bool:
        """Take the client's preface off; False while it is incomplete."""
        expected = self._preface_left
        if not expected.startswith(self._inbox[: len(expected)]):
            raise floods.PeerError("not HTTP/2", ErrorCodes.PROTOCOL_ERROR)
        if len(self._inbox) < len(expected):
            return False
        self._h2.receive_data(expected)
        self._preface_left = b""
        del self._inbox[: len(expected)]
        return True

    def _feed(self, data: bytearray) -> None:
        if data:
            self._h2.receive_data(data)

    def _translate(self, events: list[Event]) -> None:
        """Turn what happened in the engine into events. Raises PeerError where it amounts to a flood."""
        happened, self._h2.happened = self._h2.happened, []
        for event in happened:
            translate = _TRANSLATIONS.get(event.__class__)
            if translate is not None:
                translate(self, event, events)

    def _refuse_peer(self, exc: floods.PeerError) -> ConnectionFailed:
        self.go_away(self.highest_received_stream_id, exc.error_code, exc.debug)
        return self._fail(exc.error_code, str(exc))

    def _fail(self, error_code: int, reason: str) -> ConnectionFailed:
        self.failed = True
        self.has_more = False
        self._inbox.clear()
        self._streams.clear()
        return ConnectionFailed(error_code, reason)

    def _on_headers(
        self,
        event: h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.TrailersReceived,
        events: list[Event],
    ) -> None:
        stream_id, ended = event.stream_id, event.stream_ended is not None
        request = event.__class__ is h2.events.RequestReceived
        trailers = event.__class__ is h2.events.TrailersReceived
        if request:
            self._streams[stream_id] = 0
        if ended:
            self._end(stream_id, _REMOTE_ENDED)
        headers: Headers = event.headers
        problem = malformation(headers, request=request, trailers=trailers)
        if problem:
            headers = without_outer_spaces(headers)
            problem = malformation(headers, request=request, trailers=trailers)
        if problem:
            self.reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            answer = () if request else headers
            events.append(StreamReset(stream_id, ErrorCodes.PROTOCOL_ERROR, f"malformed: {problem}", answer))
            self._guard.junk(self._now_s)
            return
        too_large = header_list_bytes(headers) > self._max_header_list_bytes
        events.append(HeadersReceived(stream_id, headers, ended, too_large))

    def _on_data(self, event: h2.events.DataReceived, events: list[Event]) -> None:
        ended = event.stream_ended is not None
        if ended:
            self._end(event.stream_id, _REMOTE_ENDED)
        events.append(DataReceived(event.stream_id, event.data, event.flow_controlled_length, ended))

    def _on_reset(self, event: h2.events.StreamReset, events: list[Event]) -> None:
        self._streams.pop(event.stream_id, None)
        reason = "" if event.remote_reset else "the peer broke the rules of the stream"
        events.append(StreamReset(event.stream_id, int(event.error_code), reason))

    def _on_failed(self, event: StreamFailed, events: list[Event]) -> None:
        self._streams.pop(event.stream_id, None)
        events.append(StreamReset(event.stream_id, event.error_code, event.reason))
        self._guard.junk(self._now_s)

    def _on_window(self, event: h2.events.WindowUpdated, events: list[Event]) -> None:
        events.append(WindowOpened())

    def _on_settings(self, event: h2.events.RemoteSettingsChanged, events: list[Event]) -> None:
        self.peer_ready = True
        # The peer grants our encoder a table of up to 4 GiB; h2 would fill it, and search it end to end for
        # every header.
        encoder = self._h2.encoder
        if encoder.header_table_size > _HPACK_TABLE_BYTES:
            encoder.header_table_size = _HPACK_TABLE_BYTES
        events.append(WindowOpened())

    # Sending

    @property
    def highest_received_stream_id(self) -> int:
        """The highest stream the peer has opened; 0 if it has opened none."""
        return self._h2.highest_inbound_stream_id

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def can_open_stream(self) -> bool:
        """Whether the peer grants one more stream (clients)."""
        return (
            not self.failed
            and len(self._streams) < self._h2.remote_settings.max_concurrent_streams
            and self._h2.highest_outbound_stream_id < frames.MAX_STREAM_ID - 2
        )

    @property
    def out_of_stream_ids(self) -> bool:
        """Whether a client has used up its 2**30 streams and needs a new connection."""
        return self._h2.highest_outbound_stream_id >= frames.MAX_STREAM_ID - 2

    def open_stream(self, headers: Sequence[Header]) -> int:
        """Send a request's headers on a new stream, whose id it returns. `can_open_stream` must hold."""
        stream_id = self._h2.get_next_available_stream_id()
        self._streams[stream_id] = 0
        self._h2.send_headers(stream_id, headers)
        self._guard.sent_call_frame()
        self._collect()
        return stream_id

    def send_headers(self, stream_id: int, headers: Sequence[Header], *, end_stream: bool = False) -> None:
        """Send response headers, or trailers, which end the stream."""
        if stream_id not in self._streams:
            return
        self._h2.send_headers(stream_id, headers, end_stream)
        self._guard.sent_call_frame()
        if end_stream:
            self._end(stream_id, _LOCAL_ENDED)
        self._collect()

    def send_data(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool = False) -> int:
        """Send as much of `data` as fits one frame and the peer's windows; how much that was.

        `end_stream` counts once all of it has gone. With no `data` it ends the stream.
        """
        if stream_id not in self._streams:
            return len(data)
        fits = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
        if data and fits < len(data):
            if fits <= 0:
                return 0
            data, end_stream = data[:fits], False
        self._h2.send_data(stream_id, data, end_stream)
        self._guard.sent_call_frame()
        if end_stream:
            self._end(stream_id, _LOCAL_ENDED)
        self._collect()
        return len(data)

    def reset(self, stream_id: int, error_code: int) -> None:
        """End the stream at once, both ways."""
        if self._streams.pop(stream_id, None) is None:
            return
        self._h2.reset(stream_id, error_code)
        self._collect()

    def refuse(self, stream_id: int) -> ConnectionFailed | None:
        """Reset a stream that is more than was granted; the peer may try it again, but not for ever."""
        self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        return self._counted(self._guard.refused)

    def count_junk(self) -> ConnectionFailed | None:
        """Count a request that could never be served; the failure of the connection at one too many."""
        return self._counted(self._guard.junk)

    def _counted(self, count: Callable[[float], None]) -> ConnectionFailed | None:
        if self.failed:
            return None
        try:
            count(self._now_s)
        except floods.PeerError as exc:
            return self._refuse_peer(exc)
        return None

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Give received bytes back to the peer's windows; for a stream that has ended, the connection's."""
        if flow_bytes and not self.failed:
            self._h2.acknowledge_received_data(flow_bytes, stream_id)
            self._collect()

    def ping(self, payload: bytes) -> None:
        """Ask for a `PingAcked` with these eight bytes."""
        if not self.failed:
            self._h2.ping(payload)
            self._collect()

    def go_away(self, last_stream_id: int, error_code: int = ErrorCodes.NO_ERROR, debug: bytes = b"") -> None:
        """Tell the peer to open no more streams; streams go on."""
        if not self.failed:
            self._collect()
            self._queue(frames.goaway(last_stream_id, error_code, debug))

    def close(self) -> None:
        """Free what is held; nothing can be received or sent any more."""
        self.failed = True
        self.has_more = False
        self._inbox.clear()
        self._streams.clear()
        self._outbox.clear()
        self.output_bytes = 0
        self._h2.close()

    def data_to_send(self) -> bytes:
        """All that waits to go to the peer, handed out once."""
        data = b"".join(self._outbox)
        self._outbox.clear()
        self.output_bytes = 0
        return data

    def _end(self, stream_id: int, side: int) -> None:
        ended = self._streams.get(stream_id)
        if ended is None:
            return
        if ended | side == _LOCAL_ENDED | _REMOTE_ENDED:
            del self._streams[stream_id]
        else:
            self._streams[stream_id] = ended | side

    def _collect(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._queue(data)

    def _queue(self, data: bytes) -> None:
        self._outbox.append(data)
        self.output_bytes += len(data)


_TRANSLATIONS: dict[type, Callable[[Connection, Any, list[Event]], None]] = {
    h2.events.RequestReceived: Connection._on_headers,
    h2.events.ResponseReceived: Connection._on_headers,
    h2.events.TrailersReceived: Connection._on_headers,
    h2.events.DataReceived: Connection._on_data,
    h2.events.StreamReset: Connection._on_reset,
    h2.events.WindowUpdated: Connection._on_window,
    h2.events.RemoteSettingsChanged: Connection._on_settings,
    h2.events.PingAckReceived: lambda connection, event, events: events.append(PingAcked(event.ping_data)),
    StreamFailed: Connection._on_failed,
    GoAwayReceived: lambda connection, event, events: events.append(event),
}
