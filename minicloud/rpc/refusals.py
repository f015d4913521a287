"""The causes for which a server refuses a connection or a call, and the errors that carry them."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.http2.headers import Header


class Cause(enum.Enum):
    """The reason of a refusal. The values are labels of a metric."""

    # Of a connection
    CONNECTIONS = "connections"  # too many
    PEER_CONNECTIONS = "peer_connections"  # too many from one address
    HANDSHAKE = "handshake"  # no TLS, preface or settings in time
    PROTOCOL = "protocol"  # it broke HTTP/2
    FLOOD = "flood"  # too many frames or requests that serve no call
    NOT_READ = "not_read"  # the peer does not take what is sent

    # Of a call before its handler starts; the client may send it again
    STOPPING = "stopping"  # the server is shutting down
    CALLS = "calls"  # too many
    CONNECTION_CALLS = "connection_calls"  # too many on one connection
    PEER_CALLS = "peer_calls"  # too many from one address
    STREAMS = "streams"  # too many calls that may stay open
    PEER_STREAMS = "peer_streams"  # likewise from one address
    WAITING = "waiting"  # it waited longest for its message when others came

    # Of a call that can never be served
    MALFORMED = "malformed"  # its headers or frames break HTTP/2
    NOT_GRPC = "not_grpc"  # another method or content type
    UNKNOWN_METHOD = "unknown_method"
    ENCODING = "encoding"  # a compression that this end does not have
    TIMEOUT = "timeout"  # a grpc-timeout that does not parse
    METADATA = "metadata"  # too much

    # Of a call under way
    NO_MESSAGE = "no_message"  # the first did not come in time
    MESSAGE = "message"  # too large, or not of the type
    RECEIVED_BUDGET = "received_budget"  # too many large messages at once
    ANSWER_BUDGET = "answer_budget"  # its answer had not been taken for longest when others came


class RefusedError(Exception):
    """The refusal of a request, which gets no handler."""

    def __init__(self, cause: Cause, status: Status, message: str, extra: Sequence[Header] = ()) -> None:
        super().__init__(message)
        self.cause = cause
        self.status = status
        self.message = message
        self.extra = extra


def unwrapped(exc: Exception) -> Exception:
    """The exception in `exc` where that is a group of one, as a nursery of a handler raises it."""
    while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


class CallRefusedError(GRPCError):
    """The end of a call under way, for a cause that is counted."""

    def __init__(self, cause: Cause, status: Status, message: str) -> None:
        super().__init__(status, message)
        self.cause = cause
