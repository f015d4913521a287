"""This store lasts as long as the process, for `--data-dir none`, for tests and for simulated disks.

Always holds: a change is kept when `append` returns, in order, and `load` returns what a durable store would
(`tests/unit/store/test_stores.py`). So a simulated control plane can be killed and started again over the
same `MemoryStore`.
"""

from __future__ import annotations

from collections import deque

import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.core.liveness.grace import Run
from minicloud.core.model import WorkerId
from minicloud.store.port import HISTORY_ENTRIES, MAX_RUNS, Change, MembershipEvent, Snapshot, StoredWorker


class MemoryStore:
    """A `MemoryStore` is a `Store` without a file. `flushed` and `run` never fail."""

    def __init__(self) -> None:
        self._workers: dict[WorkerId, StoredWorker] = {}
        self._entries: deque[MembershipEvent] = deque(maxlen=HISTORY_ENTRIES)
        self._runs: dict[int, Run] = {}
        self._incarnation_floor = 0

    async def load(self) -> Snapshot:
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """Return everything that is kept."""
        return Snapshot(
            workers=tuple(self._workers[worker_id] for worker_id in sorted(self._workers)),
            entries=tuple(self._entries),
            incarnation_floor=self._incarnation_floor,
            last_event_id=self.durable_event_id,
            runs=tuple(self._runs.values()),
        )

    def check_accepting(self) -> None: ...

    def append(self, change: Change) -> None:
        if change.worker is not None:
            self._workers[change.worker.worker_id] = change.worker
        elif change.worker_id:
            self._workers.pop(change.worker_id, None)
        if change.entry is not None:
            self._entries.append(change.entry)
        if change.run is not None:
            self._runs[change.run.number] = change.run
            self._runs.pop(change.run.number - MAX_RUNS, None)
        self._incarnation_floor = change.incarnation_floor

    async def flushed(self) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def durable_event_id(self) -> int:
        return self._entries[-1].event_id if self._entries else 0

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()
