"""The limits and timeouts that one end of an HTTP/2 connection sets the other, each with its reason.

Both classes check their values when they are made. Sizes are bytes, times seconds; a timeout of infinity is
off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
_MAX_WINDOW = 2**31 - 1
_SPEC_WINDOW = 65_535


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """The most that a peer may make one connection hold or do."""

    # Streams at once, advertised; the owner refuses those beyond it. One worker has one or two; a gateway or
    # a load generator some dozens. A higher limit only lets one connection take more than its share.
    max_concurrent_streams: int = 100

    # Size of one decoded header list, 32 bytes a field added as HPACK counts; advertised. The owner fails a
    # stream with more. gRPC implementations agree on 8 KiB of metadata as what must pass.
    max_header_list_bytes: int = 16 * KIB

    # Size of one header block, encoded and decoded: the most of headers that a connection can be made to
    # hold. A larger one ends the connection with every stream on it, because what is not decoded is missing
    # from the state of the compression. This limit is so far above the other that a stream with somewhat too
    # many headers harms no other.
    max_header_block_bytes: int = 64 * KIB

    # Unread bytes of one stream. Throughput of a stream <= window / round trip: 64 MB/s at 1 ms. This is the
    # default of HTTP/2: a peer may use it before it has read our settings, so less cannot be had.
    stream_window_bytes: int = _SPEC_WINDOW

    # Unread bytes of all streams of a connection: the most of data that a peer can make us hold. 16 streams
    # nobody reads starve their connection (only theirs); 10,000 such connections hold 10 GB, an honest one
    # next to nothing.
    connection_window_bytes: int = MIB

    # Frames that carry no request forward (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, CONTINUATION,
    # unknown): a bucket of `burst` refilled at `per_s`, and by every frame that does carry one forward. A
    # frame costs h2 some 20 us: 200 a second are 0.4% of a core a connection.
    idle_frame_burst: int = 1000
    idle_frames_per_s: float = 200.0

    # RST_STREAM received. Opening and resetting streams is the one flood that looks like work ("rapid
    # reset", CVE-2023-44487), so it has a bucket that work does not refill. A client that gives up on every
    # one of 100 requests ten times over stays within it.
    reset_burst: int = 1000
    resets_per_s: float = 50.0

    # Streams that break the rules of HTTP/2, and requests that the owner can never serve. Each costs as much
    # as one that it serves; a client of another version that asks for a method in vain asks now and then.
    junk_burst: int = 100
    junk_per_s: float = 10.0

    # PINGs closer together than this (less a tenth for jitter) while we send no headers or data: strikes,
    # which age at the rate of one an interval. One more than `max_ping_strikes` ends the connection with the
    # debug data "too_many_pings", which gRPC clients understand. The C core's 5 min would break workers that
    # keep a connection through a NAT box alive with pings every 30 s or so.
    min_ping_interval_s: float = 10.0
    max_ping_strikes: int = 2

    def __post_init__(self) -> None:
        require_positive(
            self,
            "max_concurrent_streams",
            "max_header_list_bytes",
            "max_header_block_bytes",
            "idle_frame_burst",
            "reset_burst",
            "junk_burst",
        )
        require_not_negative(
            self,
            "idle_frames_per_s",
            "resets_per_s",
            "junk_per_s",
            "min_ping_interval_s",
            "max_ping_strikes",
        )
        for name in ("stream_window_bytes", "connection_window_bytes"):
            if not _SPEC_WINDOW <= getattr(self, name) <= _MAX_WINDOW:
                raise ValueError(f"{name}: want {_SPEC_WINDOW} to {_MAX_WINDOW}")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The times for which one connection may keep us waiting."""

    # From accepting to TLS done, and again to the peer's preface and SETTINGS. A real peer needs two or three
    # round trips; what is slower is a port scanner or holds connections on purpose.
    handshake_s: float = 10.0

    # One write that makes no progress because the peer does not read.
    send_s: float = 20.0

    # A PING after this long without a whole frame from the peer; no answer within `keepalive_timeout_s` and
    # the connection is dead. A vanished peer (power, network) costs its memory for their sum at most.
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0

    # False: silence counts only while the peer owes an answer: from the first request it has not reacted to,
    # even one that was given up since, or, while requests are open, from the last frame. This is for clients,
    # whom servers allow few pings that no request accounts for (gRPC's A8; the C core: one in 5 min, at the
    # third too many it sends GOAWAY): every answer sets its count back to nothing. So a server that answers
    # is never pinged in vain, and one that is slow is pinged once a request.
    keepalive_without_calls: bool = True

    # No request for this long: a GOAWAY, and the connection is closed. Longer than any heartbeat interval in
    # sane use, so that a worker keeps its one connection.
    max_idle_s: float = 900.0

    # At this age a GOAWAY is sent, and requests in flight finish within `max_age_grace_s`. Off: it is for
    # spreading clients over several servers behind one name.
    max_age_s: float = math.inf
    max_age_grace_s: float = 30.0

    def __post_init__(self) -> None:
        require_positive(
            self,
            "handshake_s",
            "send_s",
            "keepalive_s",
            "keepalive_timeout_s",
            "max_idle_s",
            "max_age_s",
        )
        require_not_negative(self, "max_age_grace_s")


def require_positive(config: object, *names: str) -> None:
    """Check that the named attributes are more than 0. Raises ValueError."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}: want more than 0, not {getattr(config, name)}")


def require_not_negative(config: object, *names: str) -> None:
    """Check that the named attributes are 0 or more. Raises ValueError."""
    for name in names:
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name}: want 0 or more, not {getattr(config, name)}")
