"""The budget of answers that a server holds because clients do not take them (DESIGN 69). Pure.

Always holds: the answers held and the output of all connections are bounded together by `max_bytes` and one
frame a connection (test_output_of_many_connections_that_do_not_read_is_bounded); the answer that has not
moved for longest makes room for the next one (test_budget_holds_no_more_than_it_has_and_lets_the_oldest_go).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

CallT = TypeVar("CallT", bound=Hashable)


class AnswerBudget(Generic[CallT]):
    """The budget of one server's answers, by call."""

    __slots__ = ("_held", "_max_bytes", "held_bytes", "output_bytes")

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self._held: dict[CallT, int] = {}  # in the order of their last progress
        self.held_bytes = 0
        self.output_bytes = 0  # of all connections, queued or being sent

    @property
    def crowded(self) -> bool:
        """True while the budget is used up: connections then queue one frame each."""
        return self.held_bytes + self.output_bytes > self._max_bytes

    def hold(self, call: CallT, left_bytes: int) -> list[CallT]:
        """Hold `left_bytes` of an answer that has just moved. Returns the calls to be ended for it."""
        self.release(call)
        self._held[call] = left_bytes
        self.held_bytes += left_bytes
        gone = []
        while self.crowded and self._held:
            oldest = next(iter(self._held))
            if oldest is call and left_bytes <= self._max_bytes:
                break  # the rest is output, which has a bound of its own
            self.release(oldest)
            gone.append(oldest)
        return gone

    def release(self, call: CallT) -> None:
        """Hold nothing of the call any more."""
        assert self.held_bytes >= self._held.get(call, 0)
        self.held_bytes -= self._held.pop(call, 0)
