"""The changes that wait to be written, in order, and bounded while the store cannot write.

While it can, every waiting change is kept as it came. While it cannot, the history keeps its newest
`HISTORY_ENTRIES` lines and the record of each worker is kept once: a change beyond that bound loses its entry
and is merged with later changes of its worker. Always holds: what `take` answers with, written in that order,
leaves every worker with the record of its last change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from minicloud.store.port import HISTORY_ENTRIES, Change


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes to be written together. `upto` is how many changes are written once they are, of all that were
    ever added. The first of them was added at `since_s`."""

    changes: Sequence[Change]
    upto: int
    since_s: float


class Pending:
    """The changes that wait. `limit` bounds their entries once `bound` is called."""

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
        """When the oldest of them was added; None if there is none. An earlier time where that is not known
        exactly."""
        return self._since_s if self else None

    def add(self, change: Change, now_s: float) -> None:
        """Put `change` behind all others."""
        if not self:
            self._since_s = now_s
        self._changes.append(change)
        self.added += 1

    def take(self, limit: int) -> Batch:
        """Take the oldest changes out, `limit` at most beside the merged ones."""
        changes = [*self._merged.values(), *islice(self._changes, limit)]
        self._merged.clear()
        for _ in range(min(limit, len(self._changes))):
            self._changes.popleft()
        return Batch(changes, self.added - len(self._changes), self._since_s)

    def put_back(self, batch: Batch) -> None:
        """Take back what could not be written, in front of all others."""
        self._since_s = batch.since_s
        self._changes.extendleft(reversed(batch.changes))

    def bound(self) -> int:
        """Merge the oldest changes until `limit` others are left; how many entries that drops."""
        dropped = 0
        while len(self._changes) > self._limit:
            change = self._changes.popleft()
            dropped += change.entry is not None
            self._merged[change.worker_id] = replace(change, entry=None)
        return dropped
