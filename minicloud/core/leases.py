"""Deadlines of one length, kept in the order in which they fall due.

Always holds: the first entry is the next to fall due. As every deadline lies the same `length_s` ahead of
the moment it is set, and time does not go back, the one set last is due last: moving it to the end is all
the sorting there is, O(1) however many there are. A heap would cost O(log n) a renewal, or, with stale
entries left in it, a wake-up for each of them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

from minicloud.core.model import WorkerId


class Deadlines:
    """A deadline a worker, all `length_s` long. One that is due now has passed: a lease that ends at this
    very instant no longer holds."""

    __slots__ = ("_latest_s", "_since_s", "length_s")

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._since_s: OrderedDict[WorkerId, float] = OrderedDict()
        self._latest_s = -math.inf

    def __len__(self) -> int:
        return len(self._since_s)

    def start(self, worker_id: WorkerId, now_s: float) -> None:
        """Set (or set anew) the worker's deadline `length_s` after `now_s`.

        A `now_s` before one already seen counts as that one, so that the order cannot break.
        """
        if now_s < self._latest_s:
            now_s = self._latest_s
        self._latest_s = now_s
        self._since_s[worker_id] = now_s
        self._since_s.move_to_end(worker_id)

    def stop(self, worker_id: WorkerId) -> None:
        """Forget the worker's deadline, if it has one."""
        self._since_s.pop(worker_id, None)

    def next_s(self) -> float:
        """The earliest deadline; infinity where there is none."""
        for since_s in self._since_s.values():
            return since_s + self.length_s
        return math.inf

    def due(self, now_s: float) -> Iterator[tuple[WorkerId, float]]:
        """Those at or before `now_s` with their deadlines, earliest first. Costs O(found)."""
        for worker_id, since_s in self._since_s.items():
            due_s = since_s + self.length_s
            if due_s > now_s:
                return
            yield worker_id, due_s
