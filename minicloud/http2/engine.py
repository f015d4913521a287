"""The HTTP/2 engine behind a connection: h2, with what ends one stream kept from ending the others.

h2 ends the connection for most mistakes a peer makes on one stream. Here such a mistake resets the stream and
becomes a `StreamFailed` among the events. What remains a connection's error: frames that break the framing or
the compression, the connection's own window, and streams that were never opened.

Always holds: events of frames before the one that ends the connection are not lost (`happened`); frames on a
stream that is over are answered with RST_STREAM. Knows no limits but those of its settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from h2.stream import H2Stream, StreamClosedBy, StreamState
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PriorityFrame, RstStreamFrame, WindowUpdateFrame

from minicloud.rpc.config import Http2Limits
from minicloud.http2.floods import PeerError
from minicloud.http2.frames import MAX_FRAME_BYTES, MAX_STREAM_ID

# Frames whose mistakes can be one stream's alone.
_OF_STREAMS = (HeadersFrame, DataFrame, WindowUpdateFrame, PriorityFrame)


@dataclass(slots=True)
class StreamFailed:
    """The peer broke the rules on one stream, which has been reset."""

    stream_id: int
    error_code: int
    reason: str


class _PlainEncoder(hpack.Encoder):
    # Huffman coding saves a fifth of a literal and costs 10 us a literal in Python.
    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman=False)


class _Decoder(hpack.Decoder):
    # What cannot be decoded ends the connection: its headers are missing from the compression's state.
    def decode(self, data: bytes, raw: bool = False) -> Any:
        try:
            return super().decode(data, raw)
        except hpack.OversizedHeaderListError as exc:
            raise PeerError(f"header block too large: {exc}") from None
        except (hpack.HPACKError, IndexError, TypeError, ValueError) as exc:
            raise PeerError(f"header block: {exc}", ErrorCodes.COMPRESSION_ERROR) from None


class Engine(h2.connection.H2Connection):
    """One end of a connection."""

    # h2 remembers how the last 65,536 streams of a connection closed, 6 MB of a worker that has sent
    # heartbeats for three weeks. It uses it to tell a late frame from a wrong one: the last few will do.
    MAX_CLOSED_STREAMS = 256

    def __init__(self, *, client: bool, limits: Http2Limits) -> None:
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
        self.happened: list[Any] = []  # h2's events and `StreamFailed`, since they were last taken
        self.encoder = _PlainEncoder()
        self.decoder = _Decoder()
        self.decoder.max_header_list_size = limits.max_header_block_bytes
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
        """Free what refers back to this object, so that it needs no garbage collector."""
        self._frame_dispatch_table.clear()

    def reset(self, stream_id: int, error_code: int) -> None:
        """Send RST_STREAM, unless the peer has reset the stream already."""
        try:
            self.reset_stream(stream_id, error_code)
        except h2.exceptions.StreamClosedError:
            return

    def fail_stream(self, stream_id: int, error_code: int, reason: str) -> None:
        """Reset a stream on which the peer broke the rules, and report it."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            _mark_reset(stream)
        frame = RstStreamFrame(stream_id)
        frame.error_code = error_code
        self._prepare_for_sending([frame])
        self.happened.append(StreamFailed(stream_id, error_code, reason))

    def has_seen(self, stream_id: int) -> bool:
        """Whether the stream is open or was."""
        outbound = self._stream_id_is_outbound(stream_id)
        return stream_id <= (self.highest_outbound_stream_id if outbound else self.highest_inbound_stream_id)

    def _receive_frame(self, frame: Frame) -> list[h2.events.Event]:
        try:
            self.happened += super()._receive_frame(frame)
        except h2.exceptions.ProtocolError as exc:
            if not self._is_of_one_stream(frame, exc):
                raise
            if isinstance(frame, DataFrame) and frame.stream_id in self.streams:
                self._return_window(frame.flow_controlled_length)
            late = isinstance(exc, (h2.exceptions.StreamClosedError, h2.exceptions.StreamIDTooLowError))
            self.fail_stream(
                frame.stream_id,
                ErrorCodes.STREAM_CLOSED if late else exc.error_code,
                str(exc) or "late frame",
            )
        return []

    def _is_of_one_stream(self, frame: Frame, exc: Exception) -> bool:
        """Whether `exc`, which `frame` has caused, concerns a known stream and nothing else."""
        if not isinstance(frame, _OF_STREAMS) or self.inbound_flow_control_window < 0:
            return False
        if self.config.client_side:
            # A client has opened every stream of its own below its highest one.
            return self._stream_id_is_outbound(frame.stream_id) and self.has_seen(frame.stream_id)
        # Streams are never opened twice: RFC 9113 ends the connection of a client that tries.
        stream = self.streams.get(frame.stream_id)
        return stream is not None and not (isinstance(exc, h2.exceptions.StreamClosedError) and stream.closed)

    def _return_window(self, flow_bytes: int) -> None:
        """Give the connection's window back the bytes of a frame that nobody will read."""
        increment = self._inbound_flow_control_window_manager.process_bytes(flow_bytes)
        if increment:
            frame = WindowUpdateFrame(0)
            frame.window_increment = increment
            self._prepare_for_sending([frame])


def _mark_reset(stream: H2Stream) -> None:
    """Have h2 take the stream for reset by this end, whatever state its mistake has left it in."""
    stream.state_machine.state = StreamState.CLOSED
    stream.state_machine.stream_closed_by = StreamClosedBy.SEND_RST_STREAM
