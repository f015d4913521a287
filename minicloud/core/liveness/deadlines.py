"""This module keeps deadlines of one length in the order in which they fall due (DESIGN 10).

Every deadline lies `length_s` ahead of the time it is set, and time does not go back. So the one set last is
due last, and setting it is a move to the end of a linked ring: O(1) however many there are.

Always holds: the first deadline is the next to fall due (`tests/unit/core/liveness/test_deadlines.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator


class Deadline:
    """A `Deadline` is a worker's place in at most one `Deadlines`. Starting it in another one moves it."""

    __slots__ = ("_following", "_previous", "_since_s", "owner")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._since_s = 0.0
        # A deadline in no ring is linked to itself, so unlinking needs no special case.
        self._previous = self._following = self

    def stop(self) -> None:
        """Take the deadline out of its ring, if it is in one."""
        self._previous._following = self._following
        self._following._previous = self._previous
        self._previous = self._following = self


class Deadlines:
    """A `Deadlines` has deadlines of `length_s`. A deadline that is due now has passed."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._postponed_s = 0.0
        self._anchor = Deadline("")  # before the first and after the last of the ring
        self._latest_s = -math.inf

    def start(self, deadline: Deadline, now_s: float) -> None:
        """Set `deadline`, again if it is set already, to `length_s` after `now_s`.

        A `now_s` before the latest one counts as the latest one, which keeps the order.
        """
        now_s -= self._postponed_s
        if now_s < self._latest_s:
            now_s = self._latest_s
        self._latest_s = deadline._since_s = now_s
        previous, following = deadline._previous, deadline._following
        previous._following = following
        following._previous = previous
        anchor = self._anchor
        last = anchor._previous
        last._following = anchor._previous = deadline
        deadline._previous = last
        deadline._following = anchor

    def next_s(self) -> float:
        """Return the earliest deadline, infinity if there is none."""
        first = self._anchor._following
        return math.inf if first is self._anchor else first._since_s + self.length_s + self._postponed_s

    def postpone(self, by_s: float) -> None:
        """Move every deadline that is set by `by_s` seconds, in O(1). Deadlines set later do not move."""
        self._postponed_s += by_s

    def due(self, now_s: float) -> Iterator[tuple[str, float]]:
        """Yield owner and time of each deadline at or before `now_s`, earliest first. Costs O(found).

        No deadline may be started or stopped during the iteration.
        """
        deadline = self._anchor._following
        while deadline is not self._anchor:
            due_s = deadline._since_s + self.length_s + self._postponed_s
            if due_s > now_s:
                return
            yield deadline.owner, due_s
            deadline = deadline._following
