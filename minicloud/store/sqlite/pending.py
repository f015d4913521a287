"""This module queues the changes that wait to be written.

While the store can write, every waiting change is kept as it came. While it cannot, the newest
`HISTORY_ENTRIES` changes are kept so; an older one loses its entry and is merged with later changes of its
worker. Always holds: the batches that `take` returns, written in that order, leave every worker with the
record of its last change (`tests/unit/store/test_pending.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from minicloud.store.port import HISTORY_ENTRIES, Change


@dataclass(frozen=True, slots=True)
class Batch:
    """A `Batch` has changes to be written together.

    `upto` is the number of changes, of all that were ever added, that are durable once it is written. Its
    first change was added at `since_s`.
    """

    changes: Sequence[Change]
    upto: int
    since_s: float


class Pending:
    """A `Pending` has the changes that wait. `limit` bounds their entries once `bound` is called."""

    def __init__(self, limit: int = HISTORY_ENTRIES) -> None:
        self._limit = limit
        self._merged: dict[str, Change] = {}  # without entries, older than all the others
        self._changes: deque[Change] = deque()
        self._since_s = 0.0
        self.added = 0

    def __len__(self) -> int:
        return len(self._merged) + len(self._changes)

    @property
    def since_s(self) -> float | None:
        """Return the time at which the oldest change was added, or an earlier one; None if there is none."""
        return self._since_s if self else None

    def add(self, change: Change, now_s: float) -> None:
        """Put `change` behind all others."""
        if not self:
            self._since_s = now_s
        self._changes.append(change)
        self.added += 1

    def take(self, limit: int) -> Batch:
        """Take the oldest changes out, at most `limit` beside the merged ones."""
        changes = [*self._merged.values(), *islice(self._changes, limit)]
        self._merged.clear()
        for _ in range(min(limit, len(self._changes))):
            self._changes.popleft()
        return Batch(changes, self.added - len(self._changes), self._since_s)

    def put_back(self, batch: Batch) -> None:
        """Put the changes of a batch that was not written in front of all others."""
        self._since_s = batch.since_s
        self._changes.extendleft(reversed(batch.changes))

    def bound(self) -> int:
        """Merge the oldest changes until `limit` others are left; return the number of entries dropped."""
        dropped = 0
        while len(self._changes) > self._limit:
            change = self._changes.popleft()
            dropped += change.entry is not None
            self._merged[change.worker_id] = replace(change, entry=None)
        return dropped
