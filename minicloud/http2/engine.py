"""The HTTP/2 engine behind a connection: the library h2, whose types do not leave this module.

`Connection` uses only the public attributes of `Engine`, so another engine replaces this module alone.

h2 ends the connection for most mistakes a peer makes on one stream. Here such a mistake resets the stream and
becomes a `StreamFailed` among the events (DESIGN 66). Errors of the connection remain: broken framing or
compression, the connection's own window, and streams that were never opened.

Always holds:
- Events of frames before the one that ends the connection are kept in `happened`
  (test_events_before_a_broken_rule_are_not_lost).
- A frame on a stream that is over is answered with RST_STREAM (tests/unit/rpc/test_stream_faults.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes
from h2.stream import H2Stream, StreamClosedBy, StreamState
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PriorityFrame, RstStreamFrame, WindowUpdateFrame

from minicloud.http2.compression import PlainEncoder, StrictDecoder
from minicloud.http2.config import Http2Limits
from minicloud.http2.errors import ErrorCode, PeerError
from minicloud.http2.events import (
    DataReceived,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    StreamReset,
    WindowOpened,
)
from minicloud.http2.frames import MAX_FRAME_BYTES, MAX_STREAM_ID
from minicloud.http2.headers import Header, HeadersKind

# Frames whose mistakes can concern one stream alone.
_OF_STREAMS = (HeadersFrame, DataFrame, WindowUpdateFrame, PriorityFrame)

_HPACK_TABLE_BYTES = 4096


@dataclass(slots=True)
class StreamFailed:
    """The peer broke the rules on one stream, which has been reset."""

    stream_id: int
    error_code: int
    reason: str


@dataclass(slots=True)
class SettingsReceived:
    """The peer's SETTINGS have arrived and hold."""


EngineEvent: TypeAlias = (
    HeadersReceived
    | DataReceived
    | StreamReset
    | StreamFailed
    | SettingsReceived
    | WindowOpened
    | PingAcked
    | GoAwayReceived
)


class Engine:
    """One end of a connection."""

    __slots__ = ("__weakref__", "_h2", "happened")

    def __init__(self, *, client: bool, limits: Http2Limits) -> None:
        self.happened: list[EngineEvent] = []  # since the events were last taken
        self._h2 = _H2Connection(client, limits, self.happened)

    # Receiving

    def receive(self, data: bytes | bytearray) -> None:
        """Take in `data` from the peer: whole frames or the preface. Adds to `happened`.

        Raises PeerError where the connection has to end.
        """
        try:
            self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as exc:
            raise PeerError(str(exc), int(exc.error_code)) from exc

    def take_events(self) -> list[EngineEvent]:
        """The events since the last call."""
        events = self.happened.copy()
        self.happened.clear()
        return events

    def is_open(self, stream_id: int) -> bool:
        """True where the engine still keeps the stream."""
        return stream_id in self._h2.streams

    def has_seen(self, stream_id: int) -> bool:
        """True where the stream is open or was."""
        return self._h2.has_seen(stream_id)

    def fail_stream(self, stream_id: int, error_code: int, reason: str) -> None:
        """Reset a stream on which the peer broke the rules, and report it."""
        self._h2.fail_stream(stream_id, error_code, reason)

    # Sending: each call queues frames, which `data_to_send` hands out.

    def open_stream(self, headers: Sequence[Header]) -> int:
        """Send a request's headers on a new stream, whose id it returns."""
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream_id, headers)
        return stream_id

    def send_headers(self, stream_id: int, headers: Sequence[Header], end_stream: bool) -> None:
        """Send a response's headers, or trailers."""
        self._h2.send_headers(stream_id, headers, end_stream)

    def room_bytes(self, stream_id: int) -> int:
        """The most data that one frame and the peer's windows take of the stream now; it may be negative."""
        machine = self._h2
        return min(machine.local_flow_control_window(stream_id), machine.max_outbound_frame_size)

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """Send `data`, at most `room_bytes` of it."""
        self._h2.send_data(stream_id, data, end_stream)

    def reset(self, stream_id: int, error_code: int) -> None:
        """Send RST_STREAM, unless the peer has reset the stream already."""
        try:
            self._h2.reset_stream(stream_id, error_code)
        except h2.exceptions.StreamClosedError:
            return

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Return received bytes to the peer's windows; of a stream that is over, to the connection's."""
        self._h2.acknowledge_received_data(flow_bytes, stream_id)

    def ping(self, payload: bytes) -> None:
        """Send a PING of eight bytes."""
        self._h2.ping(payload)

    def data_to_send(self) -> bytes:
        """All that waits to go to the peer, handed out once."""
        return self._h2.data_to_send()

    # State

    @property
    def highest_received_stream_id(self) -> int:
        """The highest stream the peer has opened; 0 if it has opened none."""
        return self._h2.highest_inbound_stream_id

    @property
    def highest_opened_stream_id(self) -> int:
        """The highest stream this end has opened; 0 if it has opened none."""
        return self._h2.highest_outbound_stream_id

    @property
    def max_streams(self) -> int:
        """The number of streams at once that the peer grants."""
        return self._h2.remote_settings.max_concurrent_streams

    def close(self) -> None:
        """Free what refers back to itself, so that it needs no garbage collector."""
        self._h2.close()


class _H2Connection(h2.connection.H2Connection):
    """h2's connection, which reports mistakes on a stream as such and sends no GOAWAY of its own."""

    # h2 remembers how the last 65,536 streams of a connection closed, 6 MB of a worker that has sent
    # heartbeats for three weeks. It uses it to tell a late frame from a wrong one: the last few will do.
    MAX_CLOSED_STREAMS = 256

    def __init__(self, client: bool, limits: Http2Limits, happened: list[EngineEvent]) -> None:
        # Headers sent are ours, checked where they are made; those received are checked by `Connection`.
        super().__init__(
            h2.config.H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._happened = happened
        self.encoder = PlainEncoder()
        self.decoder = StrictDecoder(limits.max_header_block_bytes)
        self.local_settings = h2.settings.Settings(
            client=client,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_list_bytes,
            },
        )
        self.max_inbound_frame_size = MAX_FRAME_BYTES
        self.initiate_connection()
        # Advertised, but not for h2 to enforce: it would end the connection where one refused stream does.
        self.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = MAX_STREAM_ID
        self.local_settings.acknowledge()
        extra = limits.connection_window_bytes - self.inbound_flow_control_window
        if extra > 0:
            self.increment_flow_control_window(extra)

    def close(self) -> None:
        """Break the circle of references that h2's dispatch table makes."""
        self._frame_dispatch_table.clear()

    def has_seen(self, stream_id: int) -> bool:
        """True where the stream is open or was."""
        outbound = self._stream_id_is_outbound(stream_id)
        return stream_id <= (self.highest_outbound_stream_id if outbound else self.highest_inbound_stream_id)

    def fail_stream(self, stream_id: int, error_code: int, reason: str) -> None:
        """Reset a stream on which the peer broke the rules, and report it."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            _mark_reset(stream)
        frame = RstStreamFrame(stream_id)
        frame.error_code = error_code
        self._prepare_for_sending([frame])
        self._happened.append(StreamFailed(stream_id, error_code, reason))

    def take_settings(self) -> SettingsReceived:
        """Keep our encoder's table small: the peer may grant 4 GiB, which h2 would fill and search for every
        header."""
        encoder = self.encoder
        if encoder.header_table_size > _HPACK_TABLE_BYTES:
            encoder.header_table_size = _HPACK_TABLE_BYTES
        return SettingsReceived()

    def _terminate_connection(self, error_code: int) -> None:
        """Send nothing: `Connection` sends the GOAWAY."""

    def _receive_frame(self, frame: Frame) -> list[h2.events.Event]:
        try:
            for event in super()._receive_frame(frame):
                translate = _TRANSLATIONS.get(event.__class__)
                if translate is not None:
                    self._happened.append(translate(self, event))
        except h2.exceptions.ProtocolError as exc:
            if not self._is_of_one_stream(frame, exc):
                raise
            if isinstance(frame, DataFrame) and frame.stream_id in self.streams:
                self._return_window(frame.flow_controlled_length)
            late = isinstance(exc, (h2.exceptions.StreamClosedError, h2.exceptions.StreamIDTooLowError))
            self.fail_stream(
                frame.stream_id,
                ErrorCode.STREAM_CLOSED if late else exc.error_code,
                str(exc) or "late frame",
            )
        return []

    def _is_of_one_stream(self, frame: Frame, exc: Exception) -> bool:
        """True where `exc`, which `frame` has caused, concerns a known stream and nothing else."""
        if not isinstance(frame, _OF_STREAMS) or self.inbound_flow_control_window < 0:
            return False
        if self.config.client_side:
            # A client has opened every stream of its own below its highest one.
            return self._stream_id_is_outbound(frame.stream_id) and self.has_seen(frame.stream_id)
        # Streams are never opened twice: RFC 9113 ends the connection of a client that tries.
        stream = self.streams.get(frame.stream_id)
        return stream is not None and not (isinstance(exc, h2.exceptions.StreamClosedError) and stream.closed)

    def _return_window(self, flow_bytes: int) -> None:
        """Return the bytes of a frame that nobody will read to the connection's window."""
        increment = self._inbound_flow_control_window_manager.process_bytes(flow_bytes)
        if increment:
            frame = WindowUpdateFrame(0)
            frame.window_increment = increment
            self._prepare_for_sending([frame])


def _mark_reset(stream: H2Stream) -> None:
    """Set the state in which h2 takes the stream for reset by this end."""
    stream.state_machine.state = StreamState.CLOSED
    stream.state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM


def _headers(kind: HeadersKind) -> Callable[[_H2Connection, Any], HeadersReceived]:
    return lambda _, event: HeadersReceived(
        event.stream_id, event.headers, kind, event.stream_ended is not None
    )


def _data(_: _H2Connection, event: h2.events.DataReceived) -> DataReceived:
    ended = event.stream_ended is not None
    return DataReceived(event.stream_id, event.data, event.flow_controlled_length, ended)


def _reset(_: _H2Connection, event: h2.events.StreamReset) -> StreamReset:
    reason = "" if event.remote_reset else "the peer broke the rules of the stream"
    return StreamReset(event.stream_id, int(event.error_code), reason)


# h2's other events, such as those of priorities and 1xx responses, concern nobody here.
_TRANSLATIONS: dict[type[h2.events.Event], Callable[[_H2Connection, Any], EngineEvent]] = {
    h2.events.RequestReceived: _headers(HeadersKind.REQUEST),
    h2.events.ResponseReceived: _headers(HeadersKind.RESPONSE),
    h2.events.TrailersReceived: _headers(HeadersKind.TRAILERS),
    h2.events.DataReceived: _data,
    h2.events.StreamReset: _reset,
    h2.events.WindowUpdated: lambda _, event: WindowOpened(),
    h2.events.RemoteSettingsChanged: lambda machine, event: machine.take_settings(),
    h2.events.PingAckReceived: lambda _, event: PingAcked(event.ping_data),
}
