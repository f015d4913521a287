"""Workers that have departed and are remembered.

A departed worker is remembered for the retention, so that operators see what became of it and its
installation gets its id back. One that is cordoned is remembered until an operator uncordons it.

Always holds: every worker in here has `departed` set; those that are not cordoned have a deadline.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from minicloud.core.liveness.deadlines import Deadlines
from minicloud.core.liveness.policy import MAX_REMEMBERED
from minicloud.core.model import Admin, Worker, WorkerId


class Departures:
    """Departed workers by id. At most `limit` of them that are not cordoned are remembered."""

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
        """The departed worker of that id, if it is remembered."""
        return self._workers.get(worker_id)

    def workers(self, after: str = "") -> Iterator[Worker]:
        """Every departed worker in the order of ids, from the first one greater than `after` on."""
        start = bisect_right(self._sorted_ids, after) if after else 0
        for index in range(start, len(self._sorted_ids)):
            yield self._workers[self._sorted_ids[index]]

    @property
    def held(self) -> int:
        """How many are cordoned."""
        return self._held

    def put(self, worker: Worker, now_s: float) -> None:
        """Remember `worker` from `now_s` on."""
        assert worker.departed is not None, "a registered worker has not departed"
        assert worker.worker_id not in self._workers, "an id departs once"
        self._workers[worker.worker_id] = worker
        insort(self._sorted_ids, worker.worker_id)
        self._hold_or_retain(worker, now_s)

    def take(self, worker_id: WorkerId) -> Worker | None:
        """Remove the worker of that id and return it; None where there is none."""
        worker = self._workers.pop(worker_id, None)
        if worker is not None:
            del self._sorted_ids[bisect_left(self._sorted_ids, worker_id)]
            worker.deadline.stop()
            self._held -= worker.admin is not Admin.ACTIVE
        return worker

    def administer(self, worker: Worker, admin: Admin, now_s: float) -> None:
        """Set the admin state of `worker`, which is in here; an uncordoned one is retained from now on."""
        self._held -= worker.admin is not Admin.ACTIVE
        worker.admin = admin
        self._hold_or_retain(worker, now_s)

    def next_s(self) -> float:
        """When the next one is no longer remembered; infinity if never."""
        return self._retentions.next_s()

    def postpone(self, by_s: float) -> None:
        """Move the end of every retention by `by_s`."""
        self._retentions.postpone(by_s)

    def due(self, now_s: float) -> Iterator[tuple[str, float]]:
        """The ids whose retention has ended by `now_s`, and when it ended; earliest first."""
        return self._retentions.due(now_s)

    def excess(self, added: int) -> list[str]:
        """The ids that have to go, oldest first, where `added` more are to be remembered."""
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
