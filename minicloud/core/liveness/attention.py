"""This module counts the time during which the control plane listened to its workers (DESIGN 61).

The sweeper announces the time by which the loop runs again (`awake_by`). If the loop runs more than `STALL_S`
later, the control plane stalled: `stall_s` returns the lateness, and the caller moves every deadline by it
before it judges any worker (`tests/unit/control/test_membership_runs.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from minicloud.core.liveness.policy import FIRST_MARK_S, STALL_S


class Attention:
    """An `Attention` counts how long one run listened.

    `marks_s` are the times at which the count is stored, in seconds of listening.
    """

    def __init__(self, marks_s: Iterator[float]) -> None:
        self._marks_s = marks_s
        self._next_mark_s = 0.0
        self._awake_by_s = math.inf
        self._since_s = 0.0
        self._listened_s = 0.0

    def stall_s(self, now_s: float) -> float:
        """Return the length of the stall that ends now, 0.0 if there is none. A second call returns 0.0."""
        by_s = now_s - self._awake_by_s
        if by_s <= STALL_S:
            return 0.0
        self._awake_by_s = now_s
        self._since_s += by_s
        return by_s

    @property
    def stalled_from_s(self) -> float:
        """Return the time up to which `stall_s` returns 0.0."""
        return self._awake_by_s + STALL_S

    def awake_by(self, now_s: float, at_s: float) -> None:
        """Count the time until `now_s`, and expect the loop to run again by `at_s`."""
        if self._awake_by_s < math.inf:
            self._listened_s += max(0.0, now_s - self._since_s)
        self._since_s = now_s
        self._awake_by_s = at_s

    def mark_ms(self) -> int | None:
        """Return how long this run has listened, in ms, if that is to be stored now. The start is a mark."""
        if self._listened_s < self._next_mark_s:
            return None
        self._next_mark_s = next(self._marks_s, math.inf)
        return round(max(FIRST_MARK_S, self._listened_s) * 1000)
