"""The durable store: changes queue up and are written to one SQLite file by group commit.

One batch is on its way to the disk at a time, in a thread; whatever is appended meanwhile makes the next
one. A commit costs a wait for the disk however much is in it, so that a lone change waits for nothing and a
thousand workers registering at once share a few commits. Always holds: changes become durable in the order
in which they were appended, without a gap. SQL is unknown here (`store/database.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.core.errors import StoreError, StoreWriteError
from minicloud.store.database import Database
from minicloud.store.port import Change, Snapshot, StoreObserver

# Batch size / rate = how long the first of a batch waits for the last: some 60 ms for 5,000. Larger ones
# gain nothing, as the wait for the disk (1 to 10 ms) is by then a small part.
MAX_BATCH_CHANGES = 5_000

# How long what is pending may take to become durable once `run` is cancelled. A disk that hangs must not
# keep the process from ending; systemd would kill it after 90 s, Docker after 10.
CLOSE_TIMEOUT_S = 5.0


@dataclass(slots=True, eq=False)
class _Order:
    """A copy that somebody waits for. It is to hold the first `changes` changes."""

    changes: int
    done: trio.Event = field(default_factory=trio.Event)
    copy: BinaryIO | None = None
    error: StoreError | None = None
    given_up: bool = False

    def fill(self, copy: BinaryIO) -> None:
        """Hand the copy over, or close it where nobody waits any more."""
        if self.given_up:
            copy.close()
        else:
            self.copy = copy


class SqliteStore:
    """`Store` in the SQLite file at `path`, locked against other processes from `load` on.

    `observer` is told of each batch, on the loop, after it is durable. `run` that is cancelled writes what
    is pending first and closes the file. Loaded once, run once.
    """

    def __init__(self, path: Path, observer: StoreObserver | None = None) -> None:
        self._path = path
        self._observer = observer or StoreObserver()
        self._database: Database | None = None
        self._pending: deque[Change] = deque()
        self._appended = 0  # changes, since the start; so is the next one
        self._durable = 0
        # Who waits for how many changes. Targets only rise, so that the first are always due first.
        self._waiting: deque[tuple[int, trio.Event]] = deque()
        self._orders: deque[_Order] = deque()  # what they are to hold only rises, too
        self._idle = trio.lowlevel.ParkingLot()
        self._closing = False
        self._ended = trio.Event()
        self._failure: StoreWriteError | None = None

    def load(self) -> Snapshot:
        self._database = Database(self._path)
        try:
            return self._database.snapshot()
        except BaseException:
            self._database.close()
            raise

    def append(self, change: Change) -> None:
        self._pending.append(change)
        self._appended += 1
        self._idle.unpark()

    async def flushed(self) -> None:
        """Return once every change appended before this call is durable; raises `StoreWriteError` where `run`
        has ended without that."""
        target = self._appended
        if self._durable >= target:
            await trio.lowlevel.checkpoint()
            return
        # From the look at `_durable` to the wait there is no await: no wake-up can be lost between.
        if not self._ended.is_set():
            if not self._waiting or self._waiting[-1][0] != target:
                self._waiting.append((target, trio.Event()))
            await self._waiting[-1][1].wait()
        if self._durable < target:
            raise self._failure or StoreWriteError(f"{self._path} is closed: nothing more can be kept")

    async def backup(self) -> BinaryIO:
        """A copy of what is kept, with every change appended before this call: an open file, gone once
        closed. The writer makes it between two batches. Raises `StoreError`."""
        if self._ended.is_set():
            raise StoreError(f"{self._path} is closed: nothing can be copied")
        order = _Order(self._appended)
        self._orders.append(order)
        self._idle.unpark()
        try:
            await order.done.wait()
        except BaseException:
            order.given_up = True
            raise
        if order.copy is None:
            raise order.error or StoreError(f"{self._path} was closed before it could be copied")
        return order.copy

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        assert self._database is not None, "load comes first"
        # The writer hears of a cancellation through `_closing` and this scope's deadline alone, so that
        # neither a batch nor the closing is cut off in the middle.
        grace = trio.CancelScope(shield=True)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_until_closing, self._database, grace)
                task_status.started()
                try:
                    await self._ended.wait()
                finally:
                    grace.deadline = trio.current_time() + CLOSE_TIMEOUT_S
                    self._closing = True
                    self._idle.unpark()
        finally:
            if self._failure is not None:
                raise self._failure  # also in place of a cancellation: the process must not exit with 0

    async def _write_until_closing(self, database: Database, grace: trio.CancelScope) -> None:
        with grace:
            try:
                while not (self._closing and not self._pending):
                    if self._orders and self._orders[0].changes <= self._durable:
                        await self._copy(database, self._orders.popleft())
                    elif self._pending:
                        await self._write_batch(database)
                    else:
                        await self._idle.park()
            except StoreWriteError as error:
                self._failure = error
            await trio.to_thread.run_sync(database.close, abandon_on_cancel=True)
        if grace.cancelled_caught and self._failure is None:
            self._failure = StoreWriteError(
                f"{self._path} was not written within {CLOSE_TIMEOUT_S:g} s of closing, "
                f"{len(self._pending)} unacknowledged changes are lost: see to the disk"
            )
        self._ended.set()
        self._wake(self._appended)
        for order in self._orders:
            order.done.set()

    async def _write_batch(self, database: Database) -> None:
        batch = list(islice(self._pending, MAX_BATCH_CHANGES))
        began_s = trio.current_time()
        # Abandoned only when `grace` has run out: a thread in a hanging disk's hands cannot be stopped.
        await trio.to_thread.run_sync(database.write, batch, abandon_on_cancel=True)
        for _ in batch:
            self._pending.popleft()
        self._durable += len(batch)
        self._wake(self._durable)
        self._observer.batch_written(len(batch), trio.current_time() - began_s)

    async def _copy(self, database: Database, order: _Order) -> None:
        """Make the copy; that it cannot be made is the caller's matter alone."""
        if order.given_up:
            return
        try:
            copy = await trio.to_thread.run_sync(database.copied, abandon_on_cancel=True)
        except StoreError as error:
            order.error = error
        else:
            order.fill(copy)
        order.done.set()

    def _wake(self, up_to: int) -> None:
        while self._waiting and self._waiting[0][0] <= up_to:
            self._waiting.popleft()[1].set()
