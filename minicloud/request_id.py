"""A request id ties together the log lines of a request, its answer, and the trace of its caller.

It lives in a context variable of our own rather than structlog's: binding one of those and reading it back
took 15 us, more than deciding about the heartbeat that has the id.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from random import Random

from structlog.typing import EventDict

HEADER = "x-request-id"

_CURRENT: ContextVar[str] = ContextVar("request_id", default="")

_ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
# W3C Trace Context: version "-" trace-id "-" parent-id "-" flags; all zeros is no trace id.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def request_id_of(header: Callable[[str], str | None], random: Random) -> str:
    """Return the caller's `x-request-id`, else the trace id of its `traceparent`, else a new one of 16 hex
    digits.

    `header` looks a header up by its lower-case name. A value that could break a log line or a header (other
    characters than `A-Za-z0-9._:/+=-`, or over 128 of them) counts as absent.
    """
    given = header(HEADER)
    if given is not None and _ACCEPTED.fullmatch(given):
        return given
    trace = _TRACEPARENT.fullmatch(header("traceparent") or "")
    return trace[1] if trace else f"{random.getrandbits(64):016x}"


def current_request_id() -> str:
    """Return the id of the request that this task works for; it is empty outside of requests. Tasks started
    by this one inherit it."""
    return _CURRENT.get()


def bind_request_id(request_id: str) -> None:
    """Set the id of the request that this task works for from now on; an empty one is for none."""
    _CURRENT.set(request_id)


class RequestScope:
    """A `RequestScope` sets the id of the request that this task works for while it is entered."""

    __slots__ = ("_request_id", "_token")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._request_id)

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


def show_request_id(logger: object, method: str, event: EventDict) -> EventDict:
    """Add the request's id to a log line. This is a log processor."""
    request_id = _CURRENT.get()
    if request_id:
        event.setdefault("request_id", request_id)
    return event
