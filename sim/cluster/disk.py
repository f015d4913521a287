"""The disk under a simulated registry: the store's port over memory, with the failures of real disks.

A change is on the disk once `flushed` has returned for it. A change that was written after the last sync may
or may not be there after a crash: the disk keeps a prefix of those, as the store writes in order.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from minicloud.core.errors import MiniCloudError, StoreUnavailableError
from minicloud.store.memory import MemoryStore
from minicloud.store.port import Change, Snapshot
from sim.engine.process import Process
from sim.engine.timeline import Parked
from sim.engine.wait import Wait
from sim.net.network import Delay

RETRY_S = 1.0  # after a write that failed
SSD = Delay(0.0005, 0.003)


class DiskError(MiniCloudError):
    """A write failed."""


class Disk:
    """The disk of a machine, which stays from one run of its program to the next.

    `lost_power` is called when power is lost, with the number of changes that were not synced, and the number
    of those that are on the disk all the same; `write_failed` is called for each write that fails.
    """

    def __init__(
        self,
        random: Random,
        sync_time: Delay = SSD,
        *,
        lost_power: Callable[[int, int], None] = lambda written, kept: None,
        write_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.sync_time = sync_time
        self.random = random
        self.failing = 0  # writes fail while it is more than 0
        self._lost_power = lost_power
        self._write_failed = write_failed
        self._kept: list[Change] = []
        self._written: list[Change] = []  # after the last sync

    def write(self, changes: list[Change]) -> None:
        """Write without a sync. Raises `DiskError` while the disk fails."""
        if self.failing:
            self._write_failed()
            raise DiskError("the disk is full")
        self._written.extend(changes)

    def sync(self) -> None:
        """Make every change that was written durable."""
        self._kept.extend(self._written)
        self._written.clear()

    def crash(self) -> None:
        """Lose power: keep a random prefix of the changes that were written after the last sync."""
        kept = self.random.randint(0, len(self._written))
        self._lost_power(len(self._written), kept)
        self._kept.extend(self._written[:kept])
        self._written.clear()

    def wipe(self) -> None:
        """Replace the disk with an empty one."""
        self._kept.clear()
        self._written.clear()

    def copy(self) -> list[Change]:
        """Make a backup."""
        return list(self._kept)

    def restore(self, backup: list[Change]) -> None:
        """Replace the disk with one restored from `backup`."""
        self._kept = list(backup)
        self._written.clear()

    def snapshot(self) -> Snapshot:
        """The content of the disk, as a store loads it."""
        reader = MemoryStore()
        for change in self._kept:
            reader.append(change)
        return reader.snapshot()


class DiskStore:
    """Implements `minicloud.store.port.Store` on a `Disk`, for one process."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._queue: list[Change] = []
        self._appended = 0
        self._durable = 0
        self._durable_event_id = 0
        self._fault = ""  # while the disk fails
        self._wanted = Parked()
        self._waiting = trio.lowlevel.ParkingLot()  # tasks
        self._next_sync = Wait()  # handlers that are none

    async def load(self) -> Snapshot:
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """Return the content of the disk, which takes no time."""
        snapshot = self._disk.snapshot()
        self._durable_event_id = snapshot.last_event_id
        return snapshot

    def check_accepting(self) -> None:
        if self._fault:
            raise StoreUnavailableError(f"{self._fault}: nothing was changed, try again later")

    @property
    def durable_event_id(self) -> int:
        return self._durable_event_id

    def append(self, change: Change) -> None:
        self._queue.append(change)
        self._appended += 1
        self._wanted.wake()

    async def flushed(self) -> None:
        wanted = self._appended
        if not trio.lowlevel.in_trio_task():
            while self._durable < wanted:
                self._check_writing()
                await self._next_sync
            return
        if self._durable >= wanted:
            await trio.lowlevel.checkpoint()
        while self._durable < wanted:
            self._check_writing()
            await self._waiting.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            if not self._queue:
                self._wanted = Parked()
                await self._wanted
            batch, self._queue = self._queue, []
            disk = self._disk
            while self._process.alive:
                try:
                    disk.write(batch)
                except DiskError as error:
                    self._fault = str(error)
                    self._wake()
                    await self._process.sleep_until(self._process.timeline.now_s + RETRY_S)
                else:
                    break
            self._fault = ""
            await self._process.sleep_until(self._process.timeline.now_s + disk.sync_time.draw_s(disk.random))
            if self._process.alive:
                disk.sync()
                self._durable += len(batch)
                self._durable_event_id = max(
                    (change.entry.event_id for change in batch if change.entry is not None),
                    default=self._durable_event_id,
                )
                self._wake()

    def _check_writing(self) -> None:
        if self._fault:
            raise StoreUnavailableError(f"{self._fault}: the change is not durable, and may still be")

    def _wake(self) -> None:
        self._waiting.unpark_all()
        self._next_sync.over()
