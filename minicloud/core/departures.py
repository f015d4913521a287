"""This module remembers departed workers for the retention, or until an operator uncordons them (DESIGN 13,
59).

Always holds: every worker in here has `departed` set (asserted in `Departures.put`); one that is not cordoned
has a deadline (`tests/unit/core/test_registry_model.py`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from minicloud.core.liveness.deadlines import Deadlines
from minicloud.core.liveness.policy import MAX_REMEMBERED
from minicloud.core.model import Admin, Worker, WorkerId


class Departures:
    """A `Departures` maps ids to departed workers. `limit` bounds those that are not cordoned."""

    def __init__(self, retention_s: float, limit: int = MAX_REMEMBERED) -> None:
        self._workers: dict[WorkerId, Worker] = {}
        self._sorted_ids: list[WorkerId] = []
        self._retentions = Deadlines(retention_s)
        self._limit = limit
        self._held = 0

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, worker_id: object) -> bool:
        return worker_id in self._workers

    def get(self, worker_id: WorkerId) -> Worker | None:
        """Return the departed worker of that id, None if there is none."""
        return self._workers.get(worker_id)

    def workers(self, after: str = "") -> Iterator[Worker]:
        """Yield the departed workers with ids greater than `after`, in the order of ids."""
        start = bisect_right(self._sorted_ids, after) if after else 0
        for index in range(start, len(self._sorted_ids)):
            yield self._workers[self._sorted_ids[index]]

    @property
    def held(self) -> int:
        """Return the number of departed workers that are cordoned."""
        return self._held

    def put(self, worker: Worker, now_s: float) -> None:
        """Remember `worker` from `now_s` on."""
        assert worker.departed is not None, "a registered worker has not departed"
        assert worker.worker_id not in self._workers, "an id departs once"
        self._workers[worker.worker_id] = worker
        insort(self._sorted_ids, worker.worker_id)
        self._hold_or_retain(worker, now_s)

    def take(self, worker_id: WorkerId) -> Worker | None:
        """Remove the worker of that id and return it, None if there is none."""
        worker = self._workers.pop(worker_id, None)
        if worker is not None:
            del self._sorted_ids[bisect_left(self._sorted_ids, worker_id)]
            worker.deadline.stop()
            self._held -= worker.admin is not Admin.ACTIVE
        return worker

    def administer(self, worker: Worker, admin: Admin, now_s: float) -> None:
        """Set the admin state of `worker`, which is in here. Uncordoning starts its retention."""
        self._held -= worker.admin is not Admin.ACTIVE
        worker.admin = admin
        self._hold_or_retain(worker, now_s)

    def next_s(self) -> float:
        """Return the end of the first retention, infinity if there is none."""
        return self._retentions.next_s()

    def postpone(self, by_s: float) -> None:
        """Move the end of every retention by `by_s` seconds."""
        self._retentions.postpone(by_s)

    def due(self, now_s: float) -> Iterator[tuple[str, float]]:
        """Yield the ids whose retention has ended by `now_s` with the time it ended, earliest first."""
        return self._retentions.due(now_s)

    def excess(self, added: int) -> list[str]:
        """Return the ids to forget, oldest first, to make room for `added` more workers."""
        count = len(self._workers) - self._held + added - self._limit
        return [
            worker_id for _, (worker_id, _) in zip(range(count), self._retentions.due(math.inf), strict=False)
        ]

    def _hold_or_retain(self, worker: Worker, now_s: float) -> None:
        if worker.admin is Admin.ACTIVE:
            self._retentions.start(worker.deadline, now_s)
        else:
            worker.deadline.stop()
            self._held += 1
