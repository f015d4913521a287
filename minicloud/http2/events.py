"""What a peer can do to an HTTP/2 connection, as far as a call notices it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from minicloud.rpc.metadata import Headers


@dataclass(slots=True)
class HeadersReceived:
    """A request, a response (its 1xx left out), or the trailers of either.

    `too_large` headers are over the advertised limit: their call is to fail.
    """

    stream_id: int
    headers: Headers
    end_stream: bool
    too_large: bool


@dataclass(slots=True)
class DataReceived:
    """`flow_bytes`, `data` and its padding, are to be given back with `acknowledge`."""

    stream_id: int
    data: bytes
    flow_bytes: int
    end_stream: bool


@dataclass(slots=True)
class StreamReset:
    """The stream is over: reset by the peer or, with a `reason`, by this end, as the peer broke its rules.

    `answer` has the headers of a malformed answer, whose status may still be of use.
    """

    stream_id: int
    error_code: int
    reason: str = ""
    answer: Headers = ()


@dataclass(slots=True)
class WindowOpened:
    """More can be sent on some stream, or more streams can be opened."""


@dataclass(slots=True)
class PingAcked:
    payload: bytes


@dataclass(slots=True)
class GoAwayReceived:
    """Streams of ours above `last_stream_id` were not looked at; those up to it may still finish."""

    last_stream_id: int
    error_code: int
    debug: bytes


@dataclass(slots=True)
class ConnectionFailed:
    """The peer broke the protocol. Always the last event; a GOAWAY is queued, nothing else will be."""

    error_code: int
    reason: str


Event: TypeAlias = (
    HeadersReceived
    | DataReceived
    | StreamReset
    | WindowOpened
    | PingAcked
    | GoAwayReceived
    | ConnectionFailed
)
