"""Deadlines of one length, kept in the order in which they fall due.

Always holds: the first one is the next to fall due. As every deadline lies the same `length_s` ahead of the
moment it is set, and time does not go back, the one set last is due last: moving it to the end is all the
sorting there is, O(1) however many there are.

Tried instead: a heap costs O(log n) a renewal or, with stale entries left in it, a wake-up for each of
them; an OrderedDict is O(1) too, but a fifth slower with 100,000 workers, where nearly every object that it
touches on the way is out of the processor's cache. Hence links that the owner holds itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator


class Deadline:
    """One worker's place in at most one `Deadlines`; starting it in another takes it out of the first."""

    __slots__ = ("_following", "_previous", "_since_s", "owner")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._since_s = 0.0
        # Linked to itself: in no order. Unlinking is then the same step whether it is in one or not.
        self._previous = self._following = self

    def stop(self) -> None:
        """Take it out of the order it is in, if it is in one."""
        self._previous._following = self._following
        self._following._previous = self._previous
        self._previous = self._following = self


class Deadlines:
    """Deadlines all `length_s` long. One that is due now has passed: a lease that ends at this very instant
    no longer holds."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._postponed_s = 0.0
        self._anchor = Deadline("")  # before the first and after the last of a ring
        self._latest_s = -math.inf

    def start(self, deadline: Deadline, now_s: float) -> None:
        """Set (or set anew) `deadline` to `length_s` after `now_s`.

        A `now_s` before one already seen counts as that one, so that the order cannot break.
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
        """The earliest deadline; infinity where there is none."""
        first = self._anchor._following
        return math.inf if first is self._anchor else first._since_s + self.length_s + self._postponed_s

    def postpone(self, by_s: float) -> None:
        """Move every deadline that is set by `by_s` seconds; those set later are not affected. O(1)."""
        self._postponed_s += by_s

    def due(self, now_s: float) -> Iterator[tuple[str, float]]:
        """The owners of those at or before `now_s`, and when they fell due; earliest first. Costs O(found).

        Nothing may be started or stopped while this is being iterated.
        """
        deadline = self._anchor._following
        while deadline is not self._anchor:
            due_s = deadline._since_s + self.length_s + self._postponed_s
            if due_s > now_s:
                return
            yield deadline.owner, due_s
            deadline = deadline._following
