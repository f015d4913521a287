"""The bytes of answers that a server holds because clients do not take them. Pure.

Always holds: what is held, and what waits in the connections' output, is bounded together by `max_bytes` and
one frame a connection; the answer that has not moved for longest makes room for the next one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

CallT = TypeVar("CallT", bound=Hashable)


class AnswerBudget(Generic[CallT]):
    """The answers of one server."""

    __slots__ = ("_held", "_max_bytes", "held_bytes", "output_bytes")

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self._held: dict[CallT, int] = {}  # in the order of their last progress
        self.held_bytes = 0
        self.output_bytes = 0  # of all connections, on its way or waiting to be

    @property
    def crowded(self) -> bool:
        """Whether connections may queue no more than they must."""
        return self.held_bytes + self.output_bytes > self._max_bytes

    def hold(self, call: CallT, left_bytes: int) -> list[CallT]:
        """Hold `left_bytes` of an answer that has just moved. Returns the calls that have to go for it."""
        self.release(call)
        self._held[call] = left_bytes
        self.held_bytes += left_bytes
        gone = []
        while self.crowded and self._held:
            oldest = next(iter(self._held))
            if oldest is call and left_bytes <= self._max_bytes:
                break  # what is left is output, which is bounded for itself
            self.release(oldest)
            gone.append(oldest)
        return gone

    def release(self, call: CallT) -> None:
        """Hold nothing of the call any more."""
        self.held_bytes -= self._held.pop(call, 0)
