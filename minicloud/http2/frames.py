"""The frames of HTTP/2 that are read or written without an engine (RFC 9113, section 6). Pure."""

from __future__ import annotations

from minicloud.http2.events import GoAwayReceived

DATA = 0x0
HEADERS = 0x1
RST_STREAM = 0x3
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9
END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8

# Length, type, flags and stream of a frame, before its payload.
HEADER_BYTES = 9
STREAM_AT = 5

MAX_STREAM_ID = 2**31 - 1

# The smallest limit that HTTP/2 allows. Larger frames save h2 some 30 us per 16 KiB of a large message, but
# let every connection hold that much more of a frame that never ends.
MAX_FRAME_BYTES = 16_384


def number(data: bytes | bytearray, position: int) -> int:
    """The 31 bits at `position`: a stream id, or a window's increment."""
    return int.from_bytes(data[position : position + 4], "big") & MAX_STREAM_ID


def parse_goaway(payload: bytes | bytearray) -> GoAwayReceived:
    """The event of a GOAWAY with this payload of eight bytes or more."""
    return GoAwayReceived(number(payload, 0), int.from_bytes(payload[4:8], "big"), bytes(payload[8:]))


def goaway(last_stream_id: int, error_code: int, debug: bytes) -> bytes:
    """A whole GOAWAY."""
    return b"%b%c\0\0\0\0\0%b%b%b" % (
        (8 + len(debug)).to_bytes(3, "big"),
        GOAWAY,
        last_stream_id.to_bytes(4, "big"),
        error_code.to_bytes(4, "big"),
        debug,
    )
