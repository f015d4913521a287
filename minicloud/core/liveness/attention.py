"""The time during which the control plane listened to its workers.

The sweeper announces the moment by which the loop runs again (`awake_by`). Where the loop runs later than
that by more than `STALL_S`, nobody listened in between: `stall_s` is the lateness, and every deadline has to
move by it before any worker is judged. `tests/unit/control/test_membership_runs.py` keeps these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from minicloud.core.liveness.policy import FIRST_MARK_S, STALL_S


class Attention:
    """The account of one run: when it listened, and when that is to be stored next.

    `marks_s` are the moments to store it at, in seconds of listening.
    """

    def __init__(self, marks_s: Iterator[float]) -> None:
        self._marks_s = marks_s
        self._next_mark_s = 0.0
        self._awake_by_s = math.inf
        self._since_s = 0.0
        self._listened_s = 0.0

    def stall_s(self, now_s: float) -> float:
        """The length of the stall that ends now; 0.0 where there is none. A second call finds none."""
        by_s = now_s - self._awake_by_s
        if by_s <= STALL_S:
            return 0.0
        self._awake_by_s = now_s
        self._since_s += by_s
        return by_s

    @property
    def stalled_from_s(self) -> float:
        """The moment up to which `stall_s` finds no stall."""
        return self._awake_by_s + STALL_S

    def awake_by(self, now_s: float, at_s: float) -> None:
        """Count the time until `now_s`, and expect the loop to run again by `at_s`."""
        if self._awake_by_s < math.inf:
            self._listened_s += max(0.0, now_s - self._since_s)
        self._since_s = now_s
        self._awake_by_s = at_s

    def mark_ms(self) -> int | None:
        """How long this run has listened, in ms, where that is to be stored now. The start is a mark."""
        if self._listened_s < self._next_mark_s:
            return None
        self._next_mark_s = next(self._marks_s, math.inf)
        return round(max(FIRST_MARK_S, self._listened_s) * 1000)
