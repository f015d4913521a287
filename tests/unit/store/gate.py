"""A disk that writes one batch each time the test lets it, and fails or hangs when the test wants that."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio

from minicloud.core.errors import StoreWriteError
from minicloud.store import sqlite
from minicloud.store.database import Database
from minicloud.store.port import Change


class Gate:
    """A disk that writes one batch each time it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self._arrived = threading.Semaphore(0)
        self._open = threading.Semaphore(0)
        self.written = threading.Semaphore(0)
        self.fault: StoreWriteError | None = None

    def pass_through(self, changes: Sequence[Change]) -> None:
        self.batches.append([change.entry.event_id for change in changes if change.entry])
        self._arrived.release()
        self._open.acquire()
        if self.fault is not None:
            raise self.fault

    async def arrival(self) -> None:
        """Return once a batch stands at the gate."""
        with trio.fail_after(10):
            await trio.to_thread.run_sync(self._arrived.acquire)

    def let_through(self, batches: int = 1) -> None:
        self._open.release(batches)

    def put_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every batch of every `SqliteStore` pass here. A write of nothing, the writer's own trial, does
        not."""
        gate = self

        class GatedDatabase(Database):
            def write(self, changes: Sequence[Change]) -> None:
                if changes:
                    gate.pass_through(changes)
                super().write(changes)
                if changes:
                    gate.written.release()

        monkeypatch.setattr(sqlite, "Database", GatedDatabase)
