"""Bounds on the frames of a peer that cost this end work and carry no request forward. Pure.

One `FloodGuard` counts the frames of one connection. It sees the nine-byte header of each frame and the time,
before anything is parsed or kept.
"""

from __future__ import annotations

import math

from minicloud.http2.config import Http2Limits
from minicloud.http2.errors import PeerError
from minicloud.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
)

# The tokens that a frame which carries a request forward puts back: a peer may answer each of ours with a
# WINDOW_UPDATE for the stream, one for the connection, and a PING that measures the path.
_EARNED = 4

# The part of the least interval after which the next ping is in time.
_PING_TOLERANCE = 0.9


class TokenBucket:
    """A bucket of up to `burst` tokens, refilled at `per_s`."""

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
        """Put tokens back, up to the brim."""
        self._tokens = min(self._burst, self._tokens + tokens)


class FloodGuard:
    """Counts one connection's frames against `Http2Limits`."""

    __slots__ = ("_block_bytes", "_junk", "_limits", "_pings", "_resets", "_useless", "in_header_block")

    def __init__(self, limits: Http2Limits, now_s: float) -> None:
        self._limits = limits
        self._useless = TokenBucket(limits.idle_frame_burst, limits.idle_frames_per_s, now_s)
        self._resets = TokenBucket(limits.reset_burst, limits.resets_per_s, now_s)
        self._junk = TokenBucket(limits.junk_burst, limits.junk_per_s, now_s)
        self._pings = _ping_bucket(limits, now_s)
        self._block_bytes = 0  # of the header block being received
        self.in_header_block = False  # more of it is to come

    def received(self, kind: int, flags: int, length: int, now_s: float, *, empty: bool = False) -> None:
        """Count a frame of `length` payload bytes; `empty` DATA has nothing but padding. Raises PeerError."""
        if kind == DATA and not empty:
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
        elif kind == PING and not flags & ACK and self._pings is not None and not self._pings.take(now_s):
            raise PeerError("too many pings", debug=b"too_many_pings")
        if not self._useless.take(now_s):
            raise PeerError("too many frames that carry no call forward")

    def sent_call_frame(self) -> None:
        """Count headers or data sent: the peer may answer them with pings and window updates."""
        self._useless.give(_EARNED)
        if self._pings is not None:
            self._pings.give(math.inf)

    def refused(self, now_s: float) -> None:
        """Count a stream beyond the limit, as many of them are a flood. Raises PeerError."""
        if not self._resets.take(now_s):
            raise PeerError("too many streams beyond the limit")

    def junk(self, now_s: float) -> None:
        """Count a stream that broke the rules, or a request that could never be served. Raises PeerError."""
        if not self._junk.take(now_s):
            raise PeerError("too many requests that cannot be served")

    def _header_block(self, kind: int, flags: int, length: int) -> None:
        if kind != CONTINUATION:
            self._block_bytes = 0
        self._block_bytes += length
        if self._block_bytes > self._limits.max_header_block_bytes:
            raise PeerError(f"header block over {self._limits.max_header_block_bytes} bytes")
        self.in_header_block = not flags & END_HEADERS


def _ping_bucket(limits: Http2Limits, now_s: float) -> TokenBucket | None:
    """The bucket of pings that a peer may send while this end sends nothing; None for any number of them.

    Strikes age, as the bucket is refilled. It is refilled somewhat faster than the interval, so that the
    jitter of a timer never adds up to a strike.
    """
    if not limits.min_ping_interval_s:
        return None
    per_s = 1 / (limits.min_ping_interval_s * _PING_TOLERANCE)
    return TokenBucket(limits.max_ping_strikes + 1, per_s, now_s)
