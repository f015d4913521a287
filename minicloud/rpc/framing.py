"""gRPC's length-prefixed messages: a flag of compression, four bytes of length, the message. Pure.

Always holds: a message over the limit is refused on its prefix
(test_message_over_the_limit_is_refused_on_its_prefix), and a compressed one is never inflated past the limit
(asserted).
"""

from __future__ import annotations

import math
import zlib

PREFIX_BYTES = 5
IDENTITY = b"identity"
GZIP = b"gzip"
DEFLATE = b"deflate"
ENCODINGS = (IDENTITY, DEFLATE, GZIP)
ACCEPTED_ENCODINGS = b",".join(ENCODINGS)

# gRPC's deflate is the zlib format (RFC 1950), as HTTP's is.
_WBITS = {GZIP: 16 + zlib.MAX_WBITS, DEFLATE: zlib.MAX_WBITS}


class MessageTooLargeError(Exception):
    """A message, as sent or once inflated, is over the receiver's limit."""


class FramingError(Exception):
    """The bytes of a stream are not length-prefixed messages."""


class NoRoomError(Exception):
    """A compressed message inflates to more than there is room for now, though not over the limit."""


def frame(message: bytes) -> bytes:
    """`message` with its prefix, uncompressed. A message has up to 4 GiB less a byte."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def inflate(data: bytes, max_bytes: int, encoding: bytes = GZIP) -> bytes:
    """Inflate `data`, one gzip member or zlib stream. Allocates `max_bytes` and a byte at most.

    Raises MessageTooLargeError, and FramingError for anything that is not one whole member or stream.
    """
    inflater = zlib.decompressobj(_WBITS[encoding])
    try:
        inflated = inflater.decompress(data, max_bytes + 1)
    except zlib.error as exc:
        raise FramingError(f"compressed message is not {encoding.decode()}: {exc}") from None
    assert len(inflated) <= max_bytes + 1
    if len(inflated) > max_bytes:
        raise MessageTooLargeError(f"message inflates to more than the limit of {max_bytes} bytes")
    if not inflater.eof or inflater.unused_data:
        raise FramingError("compressed message is cut short or has bytes after its end")
    return inflated


class Deframer:
    """Turns the received bytes of a stream into whole messages."""

    __slots__ = ("_buffer", "_compressed", "_max_bytes", "_size", "encoding")

    def __init__(self, max_bytes: int, encoding: bytes = IDENTITY) -> None:
        self._max_bytes = max_bytes
        self.encoding = encoding  # of the compressed messages
        self._buffer = bytearray()
        self._size: int | None = None  # of the message at the buffer's start, whose prefix has been removed
        self._compressed = False

    def __len__(self) -> int:
        """The bytes held, of messages that have not been returned yet."""
        return len(self._buffer)

    @property
    def has_message(self) -> bool:
        """True where a whole message is held, or a prefix that makes `next_message` raise."""
        buffer = self._buffer
        if self._size is not None:
            return len(buffer) >= self._size
        if len(buffer) < PREFIX_BYTES:
            return False
        size = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
        return size > self._max_bytes or len(buffer) - PREFIX_BYTES >= size

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the stream."""
        self._buffer += data

    def clear(self) -> None:
        """Drop the bytes held; the stream is then of no further use."""
        self._buffer.clear()

    def next_message(self, room_bytes: float = math.inf) -> bytes | None:
        """The next whole message; None until more bytes arrive.

        A compressed message is inflated to `room_bytes` at most. Raises MessageTooLargeError, FramingError or
        NoRoomError; the stream is then of no further use.
        """
        buffer = self._buffer
        size = self._size
        if size is None:
            if len(buffer) < PREFIX_BYTES:
                return None
            size = self._size = self._read_prefix(bytes(buffer[:PREFIX_BYTES]))
            del buffer[:PREFIX_BYTES]
        if len(buffer) < size:
            return None
        message = bytes(buffer) if len(buffer) == size else bytes(buffer[:size])
        del buffer[:size]
        self._size = None
        return self._inflated(message, room_bytes) if self._compressed else message

    def _inflated(self, message: bytes, room_bytes: float) -> bytes:
        if room_bytes >= self._max_bytes:
            return inflate(message, self._max_bytes, self.encoding)
        try:
            return inflate(message, max(0, int(room_bytes)), self.encoding)
        except MessageTooLargeError:
            raise NoRoomError from None

    def finish(self) -> None:
        """Check the end of the stream. Raises FramingError where it cuts a message short."""
        if self._buffer or self._size is not None:
            raise FramingError("stream ended in the middle of a message")

    def _read_prefix(self, prefix: bytes) -> int:
        flag, size = prefix[0], int.from_bytes(prefix[1:], "big")
        if flag > 1:
            raise FramingError(f"compressed flag is {flag}, not 0 or 1")
        self._compressed = flag == 1
        if self._compressed and self.encoding not in _WBITS:
            raise FramingError("compressed message on a stream without a grpc-encoding")
        if size > self._max_bytes:
            raise MessageTooLargeError(f"message of {size} bytes is over the limit of {self._max_bytes}")
        return size
