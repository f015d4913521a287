"""This module writes frames of HTTP/2 by hand, correct or not."""

from __future__ import annotations

from dataclasses import dataclass

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4

NO_ERROR, PROTOCOL_ERROR, CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x8, 0x7, 0xB
FRAME_SIZE_ERROR, STREAM_CLOSED, COMPRESSION_ERROR = 0x6, 0x5, 0x9


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def error_code(self) -> int:
        """Return the error code of a RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8], "big")


def frame_bytes(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


REQUEST_HEADERS: dict[bytes, bytes] = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/test.Service/Unary",
    b":authority": b"test",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
}
