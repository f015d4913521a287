"""How much of what costs us and helps nobody a peer may send.

Pure: the time of each frame is passed in. One `FloodGuard` watches one connection, told of each frame on its
nine-byte header alone, before anything is parsed or kept.
"""

from __future__ import annotations

import math

from h2.errors import ErrorCodes

from minicloud.rpc.config import Http2Limits

# Frame types and flags of RFC 9113, section 6.
DATA = 0x0
HEADERS = 0x1
RST_STREAM = 0x3
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
CONTINUATION = 0x9
END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4

# What a frame that carries a call forward earns back: a peer may answer each of ours with a WINDOW_UPDATE
# for the stream, one for the connection, and a PING that measures the path.
_EARNED = 4


class PeerError(Exception):
    """The peer does what it must not, and the connection has to end. `debug` goes into the GOAWAY."""

    def __init__(
        self, reason: str, error_code: ErrorCodes = ErrorCodes.ENHANCE_YOUR_CALM, debug: bytes = b""
    ) -> None:
        super().__init__(reason)
        self.error_code = error_code
        self.debug = debug


class TokenBucket:
    """Holds up to `burst` tokens and is refilled at `per_s`."""

    __slots__ = ("_burst", "_per_s", "_tokens", "_updated_s")

    def __init__(self, burst: float, per_s: float, now_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = burst
        self._updated_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one token; False where there is none."""
        if now_s > self._updated_s:
            self.give((now_s - self._updated_s) * self._per_s)
            self._updated_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def give(self, tokens: float) -> None:
        """Put back up to the brim."""
        self._tokens = min(self._burst, self._tokens + tokens)


class FloodGuard:
    """Counts one connection's frames against `Http2Limits`."""

    __slots__ = ("_block_bytes", "_last_ping_s", "_limits", "_ping_strikes", "_resets", "_useless")

    def __init__(self, limits: Http2Limits, now_s: float) -> None:
        self._limits = limits
        self._useless = TokenBucket(limits.idle_frame_burst, limits.idle_frames_per_s, now_s)
        self._resets = TokenBucket(limits.reset_burst, limits.resets_per_s, now_s)
        self._block_bytes = 0  # of the header block being received
        self._last_ping_s = -math.inf
        self._ping_strikes = 0

    def received(self, kind: int, flags: int, length: int, now_s: float) -> None:
        """A frame of `length` payload bytes begins. Raises PeerError."""
        if kind == DATA and (length or flags & END_STREAM):
            self._useless.give(_EARNED)
            return
        if kind in (HEADERS, CONTINUATION, PUSH_PROMISE):
            self._header_block(kind, flags, length)
            if kind == HEADERS:
                return
        elif kind == RST_STREAM:
            if not self._resets.take(now_s):
                raise PeerError("too many streams reset")
            return
        elif kind == PING and not flags & ACK:
            self._ping(now_s)
        if not self._useless.take(now_s):
            raise PeerError("too many frames that carry no call forward")

    def sent_call_frame(self) -> None:
        """We sent headers or data: pings meanwhile are the peer measuring, and window updates its due."""
        self._useless.give(_EARNED)
        self._ping_strikes = 0
        self._last_ping_s = -math.inf

    def refused(self, now_s: float) -> None:
        """We refused a stream: opening more than were granted is a flood that looks like work. Raises."""
        if not self._resets.take(now_s):
            raise PeerError("too many streams beyond the limit")

    def _header_block(self, kind: int, flags: int, length: int) -> None:
        if kind != CONTINUATION:
            self._block_bytes = 0
        self._block_bytes += length
        if self._block_bytes > self._limits.max_header_block_bytes:
            raise PeerError(f"header block over {self._limits.max_header_block_bytes} bytes")
        if flags & END_HEADERS:
            self._block_bytes = 0

    def _ping(self, now_s: float) -> None:
        if now_s - self._last_ping_s < self._limits.min_ping_interval_s:
            self._ping_strikes += 1
            if self._ping_strikes > self._limits.max_ping_strikes:
                raise PeerError("too many pings", debug=b"too_many_pings")
        self._last_ping_s = now_s
