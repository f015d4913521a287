"""The facts that a handler may know of its call.

A handler gets them from `current_call()`, wherever in its task it needs them, or as `context` of its stream:

    async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
        call = current_call()
        log.debug("heartbeat", peer=str(call.peer), left_s=call.deadline and call.deadline.time_remaining())
"""

from __future__ import annotations

import math
from contextvars import ContextVar

from minicloud.http2.headers import Headers
from minicloud.http2.peer import Peer
from minicloud.rpc.metadata import Metadata, decode_metadata
from minicloud.rpc.timeouts import Deadline


class CallContext:
    """One call of a server, as its client described it. Read-only.

    It refers to no stream and no connection, so a task that outlives the call may keep it.
    """

    __slots__ = ("_deadline_s", "_headers", "_metadata", "_method", "_peer", "_request_id")

    def __init__(
        self, *, method: str, peer: Peer, headers: Headers, deadline_s: float, request_id: str
    ) -> None:
        """`deadline_s` is on Trio's clock, infinity for none."""
        self._method = method
        self._peer = peer
        self._headers = headers
        self._deadline_s = deadline_s
        self._request_id = request_id
        self._metadata: Metadata | None = None

    @property
    def method(self) -> str:
        """The path of the method, as in /package.Service/Method."""
        return self._method

    @property
    def peer(self) -> Peer:
        """The client's address, None for a stream in memory, and its certificate, None without TLS."""
        return self._peer

    @property
    def metadata(self) -> Metadata:
        """The metadata that the client sent. It is decoded when it is first read."""
        if self._metadata is None:
            self._metadata = decode_metadata(self._headers)
        return self._metadata

    @property
    def user_agent(self) -> str | None:
        """The software of the client; None where it names none."""
        return next((value.decode("latin-1") for key, value in self._headers if key == b"user-agent"), None)

    @property
    def deadline_s(self) -> float:
        """The deadline on Trio's clock; infinity where the client set none."""
        return self._deadline_s

    @property
    def deadline(self) -> Deadline | None:
        """The end of the client's patience, at which the handler is cancelled; None where it set none."""
        return None if self._deadline_s == math.inf else Deadline(self._deadline_s)

    @property
    def request_id(self) -> str:
        """The id that ties this call's log lines, its answer and its caller's own trace together."""
        return self._request_id


_CURRENT: ContextVar[CallContext | None] = ContextVar("call", default=None)


def current_call() -> CallContext:
    """The call whose handler this task runs; tasks that a handler starts inherit it.

    Raises LookupError outside of any handler.
    """
    call = _CURRENT.get()
    if call is None:
        raise LookupError("no call: this task runs no handler of a gRPC server")
    return call


def bind_call(context: CallContext | None) -> None:
    """Make `context` the current call of this task, or none of them."""
    _CURRENT.set(context)
