"""A store whose durability is in the test's hand."""

from __future__ import annotations

import trio

from minicloud.store.port import Change, Snapshot


class GatedStore:
    """A store that is durable when the test says so."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.gate = trio.Event()
        self.gate.set()

    def load(self) -> Snapshot:
        return Snapshot()

    def append(self, change: Change) -> None:
        self.changes.append(change)

    async def flushed(self) -> None:
        await self.gate.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()
