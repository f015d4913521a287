"""What one end grants the other: every limit and timeout, with its reason. Checked when made.

A timeout of infinity is off. Sizes are bytes, times seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from minicloud.http2.config import KIB, MIB, Http2Limits, Timeouts, require_not_negative, require_positive
from minicloud.net.backoff import Backoff


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

    # From a call's headers to its whole first message, and a second more for each 64 KiB of it. A worker's
    # comes with the headers; what takes longer holds a call for nothing.
    first_message_s: float = 10.0

    http2: Http2Limits = field(default_factory=Http2Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __post_init__(self) -> None:
        require_positive(
            self,
            "max_message_bytes",
            "max_connections",
            "max_calls",
            "max_received_bytes",
            "max_answer_bytes",
            "first_message_s",
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
        require_positive(self, "max_message_bytes", "connect_timeout_s")
        require_not_negative(self, "retry_buffer_bytes")
