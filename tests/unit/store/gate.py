"""This module has a disk that writes one batch each time the test lets it, and fails or hangs on request."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import trio

from minicloud.core.errors import StoreWriteError
from minicloud.store.port import Change
from minicloud.store.sqlite import store as sqlite
from minicloud.store.sqlite.database import Database


class Gate:
    """A `Gate` is a disk that writes one batch each time `let_through` is called."""

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
        """Wait until a batch stands at the gate."""
        with trio.fail_after(10):
            await trio.to_thread.run_sync(self._arrived.acquire)

    def let_through(self, batches: int = 1) -> None:
        self._open.release(batches)

    def put_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every batch of every `SqliteStore` pass here, except an empty write, the writer's own
        trial."""
        gate = self

        class GatedDatabase(Database):
            def write(self, changes: Sequence[Change]) -> None:
                if changes:
                    gate.pass_through(changes)
                super().write(changes)
                if changes:
                    gate.written.release()

        monkeypatch.setattr(sqlite, "Database", GatedDatabase)
