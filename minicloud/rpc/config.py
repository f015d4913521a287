"""The limits of a server and the settings of a channel, each with its reason.

Both classes check their values when they are made. Sizes are bytes, times seconds; a timeout of infinity is
off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from minicloud.http2.config import KIB, MIB, Http2Limits, Timeouts, require_not_negative, require_positive
from minicloud.net.backoff import Backoff


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits on what all clients together, and each of them, ask of a server."""

    # Size of one received message, as sent and as inflated. This is gRPC's usual default.
    max_message_bytes: int = 4 * MIB

    # A connection beyond it is closed as it comes. An idle one costs some 30 KB and one file descriptor:
    # 10,000 were measured at 290 MB. One address may have three quarters of them (DESIGN 68).
    max_connections: int = 16_384

    # Calls at once over all connections; those beyond it are refused, and clients send them again. One costs
    # some 20 KB besides its messages. One address may have half of them. Half of them, and a tenth for one
    # address, may be calls that stay open (health's Watch, reflection). A fifth, and a twentieth for one
    # address, may wait for their first message; beyond it the oldest of these is refused.
    max_calls: int = 10_000

    # Bytes of received messages, whole, growing or being handled, over all calls, without the first 16 KiB of
    # each. A call that would exceed it fails with RESOURCE_EXHAUSTED (DESIGN 21). Messages take this and
    # max_calls x 16 KiB at worst; ordinary messages are smaller than 16 KiB and never refused.
    max_received_bytes: int = 256 * MIB

    # Bytes of answers that clients do not take, held by their calls or on their way to the socket. Beyond it
    # the call whose answer has not moved for longest fails with RESOURCE_EXHAUSTED, and connections queue one
    # frame each (DESIGN 69). A client that reads takes its answer in milliseconds and is not affected.
    max_answer_bytes: int = 64 * MIB

    # From a call's headers to its whole first message, and a second more for each 64 KiB of it. A worker's
    # comes with the headers; a client that takes longer holds a call for nothing.
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
    # Servers ping as often as their operators set, and gRPC clients accept it. A server whose answers are all
    # malformed fails its calls and no others: those cost us no more than its good ones. The bound on frames
    # of any kind remains.
    return Http2Limits(min_ping_interval_s=0, junk_burst=10_000, junk_per_s=1000)


def _client_timeouts() -> Timeouts:
    # There is no keepalive by default: servers count pings they did not agree to as an attack (DESIGN 20).
    # The server decides about idle connections.
    return Timeouts(keepalive_s=math.inf, max_idle_s=math.inf)


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """The settings of a client: how it reaches its server, and its limits on answers."""

    # Size of one received message, as sent and as inflated. This is gRPC's usual default.
    max_message_bytes: int = 4 * MIB

    # Time for one address: name lookup, TCP, TLS and SETTINGS. SYNs are resent after 1 s, 3 s and 7 s.
    connect_timeout_s: float = 10.0

    # Pauses between rounds over all addresses, none of which let us in. They are short, because callers have
    # their own backoff on top and calls fail at once meanwhile.
    backoff: Backoff = field(default_factory=lambda: Backoff(initial_s=0.25, max_s=10.0))

    # True: a call waits for a connection through failures, until its deadline. False: it fails with
    # UNAVAILABLE as soon as no address can be reached.
    wait_for_ready: bool = False

    # Bytes that a call has sent, kept until the server answers, so that they can be sent again where the
    # server rejects the call unprocessed (REFUSED_STREAM, GOAWAY). A call that has sent more is not retried.
    retry_buffer_bytes: int = 256 * KIB

    http2: Http2Limits = field(default_factory=_client_http2)
    timeouts: Timeouts = field(default_factory=_client_timeouts)

    def __post_init__(self) -> None:
        require_positive(self, "max_message_bytes", "connect_timeout_s")
        require_not_negative(self, "retry_buffer_bytes")
