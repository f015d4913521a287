"""The id that ties a request's log lines, its answer and its caller's own trace together."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import structlog

HEADER = "x-request-id"

_ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
# W3C Trace Context: version "-" trace-id "-" parent-id "-" flags; all zeros is no trace id.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def request_id_of(header: Callable[[str], str | None], random: Random) -> str:
    """The caller's `x-request-id`, else the trace id of its `traceparent`, else a new one of 16 hex digits.

    `header` looks a header up by its lower-case name. A value that could break a log line or a header
    (other characters than `A-Za-z0-9._:/+=-`, or over 128 of them) counts as absent.
    """
    given = header(HEADER)
    if given is not None and _ACCEPTED.fullmatch(given):
        return given
    trace = _TRACEPARENT.fullmatch(header("traceparent") or "")
    return trace[1] if trace else f"{random.getrandbits(64):016x}"


def current_request_id() -> str:
    """The id of the request this task works for; empty outside any. Servers bind it as `request_id`."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
