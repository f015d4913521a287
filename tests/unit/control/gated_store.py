"""This module has a store whose durability a test controls."""

from __future__ import annotations

import trio

from minicloud.core.errors import StoreUnavailableError
from minicloud.store.port import Change, Snapshot


class GatedStore:
    """A `GatedStore` is durable when the test opens its gate, and cannot write while the test sets a
    fault."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.gate = trio.Event()
        self.gate.set()
        self.fault = ""
        self.durable_event_id = 0

    async def load(self) -> Snapshot:
        return Snapshot()

    def check_accepting(self) -> None:
        if self.fault:
            raise StoreUnavailableError(self.fault)

    def append(self, change: Change) -> None:
        self.changes.append(change)
        if not self.fault and change.entry is not None:
            self.durable_event_id = change.entry.event_id

    async def flushed(self) -> None:
        await self.gate.wait()
        self.check_accepting()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()
