"""Calls on their way between nodes, for a recorder that keeps a exchange_observer of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from grpclib.const import Status

# The steps a call may come to, in order. What was lost lacks one, what was doubled has it twice.
ARRIVED, ANSWERED, RETURNED = "arrived", "answered", "returned"


@dataclass(slots=True)
class Exchange:
    """A call between two nodes: the steps that it has taken so far, with their times, and the status of
    its answer."""

    client: str
    server: str
    route: str
    sent_s: float
    steps: list[tuple[str, float]] = field(default_factory=list)
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class ExchangeObserver:
    """The functions through which the network reports calls to a recorder.

    `returned` is called in the step in which an answer comes back; it must neither wait nor raise.
    """

    # Where the calls of a client go, by its name: each when it is sent. What becomes of it is written there.
    of: Callable[[str], deque[Exchange]]
    # An answer has come back to the client, the first one or a doubled one.
    returned: Callable[[Exchange], None]
