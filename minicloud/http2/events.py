"""The events of an HTTP/2 connection, as `Connection.receive` returns them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from minicloud.http2.headers import Headers, HeadersKind


@dataclass(slots=True)
class HeadersReceived:
    """A request, a response (1xx responses are left out), or the trailers of either.

    `too_large` headers are over the advertised limit: the owner fails their stream.
    """

    stream_id: int
    headers: Headers
    kind: HeadersKind
    end_stream: bool
    too_large: bool = False


@dataclass(slots=True)
class DataReceived:
    """Data of a stream. The owner returns `flow_bytes`, `data` and its padding, with `acknowledge`."""

    stream_id: int
    data: bytes
    flow_bytes: int
    end_stream: bool


@dataclass(slots=True)
class StreamReset:
    """The stream is over: the peer has reset it or, with a `reason`, this end has, for a broken rule.

    `answer` has the headers of a malformed response, whose content may still be of use.
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
    """The peer has answered the ping that carried `payload`."""

    payload: bytes


@dataclass(slots=True)
class GoAwayReceived:
    """The peer ignores this end's streams above `last_stream_id`; those up to it may still finish."""

    last_stream_id: int
    error_code: int
    debug: bytes


@dataclass(slots=True)
class ConnectionFailed:
    """The peer broke a rule of the connection. This is the last event; a GOAWAY is the last output."""

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
