"""One HTTP/2 connection, sans-io: bytes in, events out; calls to send, bytes out.

What always holds: `receive` raises nothing whatever the bytes; what it keeps of them is bounded by one frame
and one header block; sending on a stream that has ended meanwhile does nothing, because the peer's reset may
sit in the same bytes as the event being answered. Knows no clock (time is passed in), no socket, no gRPC.

The engine is h2. Three things are done in front of it, on the frame headers alone: floods are counted,
oversized frames are refused before they are buffered, and GOAWAY is kept from h2, which would refuse to
carry on the calls in flight after one, sent or received.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from minicloud.rpc import floods
from minicloud.rpc.config import Http2Limits
from minicloud.rpc.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    StreamReset,
    WindowOpened,
)
from minicloud.rpc.metadata import Header, header_list_bytes, malformation

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_STREAM_ID = 2**31 - 1

# The smallest a peer may be held to. Larger frames save h2 some 30 us per 16 KiB of a large message, and
# would make every connection able to hold that much more of a frame that never ends.
MAX_FRAME_BYTES = 16_384

_FRAME_HEADER_BYTES = 9
_HPACK_TABLE_BYTES = 4096


class _H2(h2.connection.H2Connection):
    # h2 remembers how the last 65,536 streams of a connection closed, 6 MB of a worker that has sent
    # heartbeats for three weeks. It uses it to tell a late frame from a wrong one: the last few will do.
    MAX_CLOSED_STREAMS = 256


class _PlainEncoder(hpack.Encoder):
    # Huffman coding saves a fifth of a literal and costs 10 us a literal in Python.
    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman=False)


_LOCAL_ENDED = 1
_REMOTE_ENDED = 2


class Connection:
    """Either end of a connection. `now_s` is any monotonic time in seconds."""

    def __init__(self, *, client: bool, limits: Http2Limits, now_s: float) -> None:
        self.failed = False
        self.peer_ready = False  # its SETTINGS have arrived
        self.frames_received = 0
        self.highest_received_stream_id = 0
        self._client = client
        self._now_s = now_s
        self._guard = floods.FloodGuard(limits, now_s)
        self._max_header_list_bytes = limits.max_header_list_bytes
        self._preface_left = b"" if client else PREFACE
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self.output_bytes = 0
        self._streams: dict[int, int] = {}  # open ones, and which of their sides have ended
        self._h2 = self._start_h2(limits)
        self._collect()

    def _start_h2(self, limits: Http2Limits) -> _H2:
        # Headers sent are ours, checked where they are made; those received are checked in `_on_headers`.
        engine = _H2(
            h2.config.H2Configuration(
                client_side=self._client,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        engine.encoder = _PlainEncoder()
        engine.local_settings = h2.settings.Settings(
            client=self._client,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
            },
        )
        engine.max_inbound_frame_size = MAX_FRAME_BYTES
        engine.decoder.max_header_list_size = limits.max_header_block_bytes
        engine.initiate_connection()
        # Advertised, but not for h2 to enforce: it would end the connection where one refused stream does.
        engine.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2**31 - 1
        engine.local_settings.acknowledge()
        extra = limits.connection_window_bytes - engine.inbound_flow_control_window
        if extra > 0:
            engine.increment_flow_control_window(extra)
        return engine

    # Receiving

    def receive(self, data: bytes | bytearray, now_s: float) -> list[Event]:
        """What `data`, the next bytes from the peer, amounts to. Nothing after a failure."""
        events: list[Event] = []
        if self.failed:
            return events
        self._now_s = now_s
        try:
            self._receive_frames(data, events)
        except h2.exceptions.ProtocolError as exc:
            self._collect()  # h2 has queued the GOAWAY
            events.append(self._fail(exc.error_code, str(exc)))
        except floods.PeerError as exc:
            events.append(self._refuse_peer(exc))
        else:
            self._collect()
        return events

    def _receive_frames(self, data: bytes | bytearray, events: list[Event]) -> None:
        """Hand h2 the whole frames of what has arrived, GOAWAYs taken out."""
        inbox = self._inbox
        inbox += data
        if self._preface_left and not self._receive_preface():
            return
        start = position = 0
        available = len(inbox)
        while available - position >= _FRAME_HEADER_BYTES:
            length = inbox[position] << 16 | inbox[position + 1] << 8 | inbox[position + 2]
            kind, flags = inbox[position + 3], inbox[position + 4]
            if length > MAX_FRAME_BYTES:
                self._feed(inbox[start:position], events)
                raise floods.PeerError(f"frame of {length} bytes", ErrorCodes.FRAME_SIZE_ERROR)
            end = position + _FRAME_HEADER_BYTES + length
            if end > available:
                break
            self._guard.received(kind, flags, length, self._now_s)
            self.frames_received += 1
            if kind == floods.GOAWAY and length >= 8:
                self._feed(inbox[start:position], events)
                events.append(_parse_goaway(inbox[position + _FRAME_HEADER_BYTES : end]))
                start = end
            position = end
        self._feed(inbox[start:position], events)
        del inbox[:position]

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

    def _feed(self, frames: bytearray, events: list[Event]) -> None:
        if frames:
            for event in self._h2.receive_data(frames):
                translate = _TRANSLATIONS.get(event.__class__)
                if translate is not None:
                    translate(self, event, events)

    def _refuse_peer(self, exc: floods.PeerError) -> ConnectionFailed:
        self.go_away(self.highest_received_stream_id, exc.error_code, exc.debug)
        return self._fail(exc.error_code, str(exc))

    def _fail(self, error_code: int, reason: str) -> ConnectionFailed:
        self.failed = True
        self._inbox.clear()
        self._streams.clear()
        return ConnectionFailed(error_code, reason)

    def _on_headers(
        self,
        event: h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.TrailersReceived,
        events: list[Event],
    ) -> None:
        stream_id, ended = event.stream_id, event.stream_ended is not None
        opens = event.__class__ is h2.events.RequestReceived
        if opens:
            self._streams[stream_id] = 0
            self.highest_received_stream_id = stream_id
        if malformation(event.headers, request=opens):
            self.reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            self._guard.refused(self._now_s)
            if not opens:
                events.append(StreamReset(stream_id, ErrorCodes.PROTOCOL_ERROR))
            return
        if ended:
            self._end(stream_id, _REMOTE_ENDED)
        too_large = header_list_bytes(event.headers) > self._max_header_list_bytes
        events.append(HeadersReceived(stream_id, event.headers, ended, too_large))

    def _on_data(self, event: h2.events.DataReceived, events: list[Event]) -> None:
        ended = event.stream_ended is not None
        if ended:
            self._end(event.stream_id, _REMOTE_ENDED)
        events.append(DataReceived(event.stream_id, event.data, event.flow_controlled_length, ended))

    def _on_reset(self, event: h2.events.StreamReset, events: list[Event]) -> None:
        self._streams.pop(event.stream_id, None)
        events.append(StreamReset(event.stream_id, int(event.error_code)))

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

    def _on_ping_ack(self, event: h2.events.PingAckReceived, events: list[Event]) -> None:
        events.append(PingAcked(event.ping_data))

    # Sending

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def can_open_stream(self) -> bool:
        """Whether the peer grants one more stream (clients)."""
        return (
            not self.failed
            and len(self._streams) < self._h2.remote_settings.max_concurrent_streams
            and self._h2.highest_outbound_stream_id < MAX_STREAM_ID - 2
        )

    @property
    def out_of_stream_ids(self) -> bool:
        """Whether a client has used up its 2**30 streams and needs a new connection."""
        return self._h2.highest_outbound_stream_id >= MAX_STREAM_ID - 2

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
        self._h2.reset_stream(stream_id, error_code)
        self._collect()

    def refuse(self, stream_id: int) -> ConnectionFailed | None:
        """Reset a stream that is more than was granted; the peer may try it again, but not for ever."""
        self.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        try:
            self._guard.refused(self._now_s)
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
            self._queue(
                b"%b%c\0\0\0\0\0%b%b%b"
                % (
                    (8 + len(debug)).to_bytes(3, "big"),
                    floods.GOAWAY,
                    last_stream_id.to_bytes(4, "big"),
                    error_code.to_bytes(4, "big"),
                    debug,
                )
            )

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


_TRANSLATIONS: dict[type[h2.events.Event], Callable[[Connection, Any, list[Event]], None]] = {
    h2.events.RequestReceived: Connection._on_headers,
    h2.events.ResponseReceived: Connection._on_headers,
    h2.events.TrailersReceived: Connection._on_headers,
    h2.events.DataReceived: Connection._on_data,
    h2.events.StreamReset: Connection._on_reset,
    h2.events.WindowUpdated: Connection._on_window,
    h2.events.RemoteSettingsChanged: Connection._on_settings,
    h2.events.PingAckReceived: Connection._on_ping_ack,
}


def _parse_goaway(payload: bytearray) -> GoAwayReceived:
    return GoAwayReceived(
        int.from_bytes(payload[:4], "big") & MAX_STREAM_ID,
        int.from_bytes(payload[4:8], "big"),
        bytes(payload[8:]),
    )
