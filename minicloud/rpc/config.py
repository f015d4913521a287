"""What one end grants the other: every limit and timeout, with its reason. Checked when made.

A timeout of infinity is off. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from minicloud.net.backoff import Backoff

KIB = 1024
MIB = 1024 * KIB
_MAX_WINDOW = 2**31 - 1
_SPEC_WINDOW = 65_535


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """What a peer may make one connection hold or do."""

    # Calls at once, advertised; those beyond it are refused. One worker has one or two; a gateway or a load
    # generator some dozens. More only lets one connection take more than its share.
    max_concurrent_streams: int = 100

    # Of one decoded header list, 32 bytes a field added as HPACK counts; advertised. A call with more fails
    # with RESOURCE_EXHAUSTED. gRPC implementations agree on 8 KiB of metadata as what must pass.
    max_header_list_bytes: int = 16 * KIB

    # Of one header block, encoded and decoded: what a connection can be made to hold of headers. Beyond it
    # the connection ends with every call on it, as what is not decoded is missing from the compression's
    # state. So far above the other that a call with somewhat too much metadata harms no other.
    max_header_block_bytes: int = 64 * KIB

    # Unread bytes of one call. Throughput of a call <= window / round trip: 64 MB/s at 1 ms. The HTTP/2
    # default: a peer may use it before it has read our settings, so less cannot be had.
    stream_window_bytes: int = _SPEC_WINDOW

    # Unread bytes of all calls of a connection; what a peer can make us hold. 16 calls nobody reads starve
    # their connection (only theirs); 10,000 such connections hold 10 GB, an honest one next to nothing.
    connection_window_bytes: int = MIB

    # Frames that carry no call forward (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, CONTINUATION,
    # unknown): a bucket of `burst` refilled at `per_s`, and by every frame that does carry one forward. An
    # h2 frame costs some 20 us: 200 a second are 0.4% of a core a connection.
    idle_frame_burst: int = 1000
    idle_frames_per_s: float = 200.0

    # RST_STREAM received. Opening and resetting streams is the one flood that looks like work ("rapid
    # reset", CVE-2023-44487), so it has a bucket that work does not refill. A client that gives up on every
    # one of 100 calls ten times over stays within it.
    reset_burst: int = 1000
    resets_per_s: float = 50.0

    # Streams that break the rules of HTTP/2, and requests that are not gRPC or name no method. Each costs as
    # much as a call; a client of another version that asks for a method in vain asks now and then.
    junk_burst: int = 100
    junk_per_s: float = 10.0

    # PINGs closer together than this (less a tenth for jitter) while we send no headers or data: strikes,
    # which age at the rate of one an interval. One more than `max_ping_strikes` ends the connection with
    # "too_many_pings", as gRPC clients understand it. The C core's 5 min would break workers that keep a
    # connection through a NAT box alive with pings every 30 s or so.
    min_ping_interval_s: float = 10.0
    max_ping_strikes: int = 2

    def __post_init__(self) -> None:
        _require_positive(
            self,
            "max_concurrent_streams",
            "max_header_list_bytes",
            "max_header_block_bytes",
            "idle_frame_burst",
            "reset_burst",
            "junk_burst",
        )
        _require_not_negative(
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
    """How long one connection may keep us waiting."""

    # From accepting to TLS done, and again to the peer's preface and SETTINGS. A real peer needs two or three
    # round trips; what is slower is a port scanner or holds connections on purpose.
    handshake_s: float = 10.0

    # From a call's headers to its whole first message, and a second more for each 64 KiB of it. A worker's
    # comes with the headers; what takes longer holds a call for nothing.
    first_message_s: float = 10.0

    # One write that makes no progress because the peer does not read.
    send_s: float = 20.0

    # A PING after this long without a whole frame from the peer; no answer within `keepalive_timeout_s` and
    # the connection is dead. A vanished peer (power, network) costs its memory for their sum at most.
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0

    # False: silence counts only while the peer owes an answer: from the first call it has not reacted to, be
    # that call given up by now, or, while calls are open, from the last frame. For clients, whom servers
    # allow few pings that no call accounts for (gRPC's A8; the C core: one in 5 min, at the third too many
    # it sends GOAWAY): every answer sets its count back to nothing, so one that answers is pinged in vain
    # never, and one that is slow once a call.
    keepalive_without_calls: bool = True

    # No call for this long: told to go away, and closed. Longer than any heartbeat interval in sane use, so
    # that a worker keeps its one connection.
    max_idle_s: float = 900.0

    # Told to go away at this age, calls in flight finish within `max_age_grace_s`. Off: it is for spreading
    # clients over several servers behind one name.
    max_age_s: float = math.inf
    max_age_grace_s: float = 30.0

    def __post_init__(self) -> None:
        _require_positive(
            self,
            "handshake_s",
            "first_message_s",
            "send_s",
            "keepalive_s",
            "keepalive_timeout_s",
            "max_idle_s",
            "max_age_s",
        )
        _require_not_negative(self, "max_age_grace_s")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all clients together, and each of them, may ask of a server."""

    # Of one received message, as sent and as inflated. gRPC's usual default.
    max_message_bytes: int = 4 * MIB

    # Beyond it a connection is closed as it comes. An idle one costs some 30 KB and one file descriptor:
    # 10,000 were measured at 290 MB. One address may have three quarters of them.
    max_connections: int = 16_384

    # Calls at once over all connections; those beyond it are refused, which clients retry. One costs some
    # 20 KB besides its messages. One address may have half of them; half of them, and a tenth for one
    # address, may be calls that stay open (health's Watch, reflection); of those whose first message has not
    # come there may be a fifth, and a twentieth of one address, beyond which the oldest is refused.
    max_calls: int = 10_000

    # Of received messages, whole, growing or being handled, over all calls, their first 16 KiB apart: a call
    # that would exceed it fails with RESOURCE_EXHAUSTED. Messages take at worst this and
    # max_calls x 16 KiB, whoever sends them; ordinary ones are smaller than that and never refused.
    max_received_bytes: int = 256 * MIB

    # Of answers that clients do not take, held by their calls or on their way to the socket. Beyond it the
    # call whose answer has not moved for longest fails with RESOURCE_EXHAUSTED, and connections queue one
    # frame each. A client that reads takes its answer in milliseconds and is not the one.
    max_answer_bytes: int = 64 * MIB

    http2: Http2Limits = field(default_factory=Http2Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        _require_positive(
            self,
            "max_message_bytes",
            "max_connections",
            "max_calls",
            "max_received_bytes",
            "max_answer_bytes",
        )


def _client_http2() -> Http2Limits:
    # Servers ping as often as they were told to, and no gRPC client holds it against them. A server whose
    # answers are all malformed fails its calls and no others: those cost us no more than its good ones. What
    # is left is the bound on frames of any kind.
    return Http2Limits(min_ping_interval_s=0, junk_burst=10_000, junk_per_s=1000)


def _client_timeouts() -> Timeouts:
    # No keepalive unless asked for: servers count pings they did not agree to as an attack. Idle is the
    # server's to decide.
    return Timeouts(keepalive_s=math.inf, max_idle_s=math.inf)


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """How a client reaches its server and what it takes from it."""

    max_message_bytes: int = 4 * MIB

    # One address: name lookup, TCP and TLS together. SYNs are resent after 1 s, 3 s and 7 s.
    connect_timeout_s: float = 10.0

    # Between rounds over all addresses, none of which let us in. Short, because callers have their own
    # backoff on top and calls fail at once while it lasts.
    backoff: Backoff = field(default_factory=lambda: Backoff(initial_s=0.25, max_s=10.0))

    # True: a call waits for a connection through failures, until its deadline. False: it fails with
    # UNAVAILABLE as soon as no address can be reached.
    wait_for_ready: bool = False

    # What a call has sent, kept until the server answers, so that it can be sent again when the server says
    # it never looked at it (REFUSED_STREAM, GOAWAY). A call that sent more is not retried.
    retry_buffer_bytes: int = 256 * KIB

    http2: Http2Limits = field(default_factory=_client_http2)
    timeouts: Timeouts = field(default_factory=_client_timeouts)

    def __post_init__(self) -> None:
        _require_positive(self, "max_message_bytes", "connect_timeout_s")
        _require_not_negative(self, "retry_buffer_bytes")


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}: want more than 0, not {getattr(config, name)}")


def _require_not_negative(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name}: want 0 or more, not {getattr(config, name)}")
