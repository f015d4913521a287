"""The durable store queues changes and writes them to one SQLite file by group commit.

A thread writes one batch at a time; changes appended meanwhile make the next one. A commit costs one wait for
the disk whatever its size, so a lone change does not wait for others, and a thousand registrations share a
few commits. `store/sqlite/database.py` has the SQL.

A write that fails, or takes longer than `STALL_S`, makes the store unavailable (DESIGN 79): waiting callers
get `StoreUnavailableError`, changes that have to be durable are refused, and others are kept in memory. The
writer tries again until it succeeds. Always holds: changes become durable in the order in which they were
appended, without a gap except entries that were dropped and counted (`tests/unit/store/test_sqlite.py`,
`tests/unit/store/test_unavailable.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import structlog
import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.core.errors import StoreError, StoreInUseError, StoreUnavailableError, StoreWriteError
from minicloud.store.port import Change, Snapshot, StoreObserver
from minicloud.store.sqlite.database import Database
from minicloud.store.sqlite.pending import Batch, Pending
from minicloud.store.sqlite.unwritable import read_unwritable

# The first change of a batch waits for the last, some 60 ms for 5,000. Larger batches gain nothing, as the
# wait for the disk (1 to 10 ms) is by then a small part.
MAX_BATCH_CHANGES = 5_000

# At this age of the oldest unwritten change the store is unavailable. Healthy disks answer within a tenth of
# it, also when busy; callers wait 10 s, and so still get the answer.
STALL_S = 5.0

# The wait after a write that failed doubles after each further one. A try costs one small write.
RETRY_FIRST_S = 0.25
RETRY_MAX_S = 5.0

# Once `run` is cancelled, pending changes have this long to become durable, so that a hanging disk does not
# keep the process from ending; systemd would kill it after 90 s, Docker after 10.
CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Order:
    """An `_Order` asks for a copy with at least the first `changes` changes."""

    changes: int
    done: trio.Event = field(default_factory=trio.Event)
    copy: BinaryIO | None = None
    error: StoreError | None = None
    given_up: bool = False

    def fill(self, copy: BinaryIO) -> None:
        """Hand the copy over, or close it if the caller has given up."""
        if self.given_up:
            copy.close()
        else:
            self.copy = copy


class SqliteStore:
    """A `SqliteStore` is a `Store` in the SQLite file at `path`, locked against other processes from `load`
    on.

    A file that can be read and not written (a read-only file system, a full one) is loaded from a copy, and
    opened once it can be written. A cancelled `run` writes what is pending first and closes the file. A store
    is loaded once and run once.
    """

    def __init__(self, path: Path, observer: StoreObserver | None = None) -> None:
        self._path = path
        self._observer = observer or StoreObserver()
        self._database: Database | None = None
        self._unopened: Snapshot | None = None  # what was loaded from a copy of a file that is to be opened
        self._pending = Pending()
        self._writing_since_s: float | None = None  # the age of what is on its way to the disk
        self._durable = 0  # changes, since the start
        self._durable_event_id = 0
        # Callers wait until so many changes are durable. Targets only rise, so the first are due first.
        self._waiting: deque[tuple[int, trio.Event]] = deque()
        self._orders: deque[_Order] = deque()  # their `changes` only rise, too
        self._idle = trio.lowlevel.ParkingLot()
        self._moved = trio.lowlevel.ParkingLot()  # the age of the oldest unwritten change is another one
        self._closing = trio.Event()
        self._ended = trio.Event()
        self._fault = ""
        self._fault_since_s = 0.0
        self._dropped = 0  # entries, since the fault began
        self._failure: StoreWriteError | None = None

    async def load(self) -> Snapshot:
        """Open the file, in a thread, and return everything that it holds."""
        return await trio.to_thread.run_sync(self._load)

    def _load(self) -> Snapshot:
        try:
            self._database = Database(self._path)
        except StoreInUseError:
            raise
        except StoreUnavailableError as error:
            snapshot = self._unopened = read_unwritable(self._path, error)
        else:
            try:
                snapshot = self._database.snapshot()
            except BaseException:
                self._database.close()
                raise
        self._durable_event_id = snapshot.last_event_id
        return snapshot

    @property
    def durable_event_id(self) -> int:
        return self._durable_event_id

    @property
    def unwritten(self) -> int:
        """Return the number of changes that wait to be written."""
        return self._pending.added - self._durable

    def oldest_unwritten_s(self) -> float:
        """Return the age of the oldest change that is not durable, in seconds, 0 if there is none."""
        since_s = self._unwritten_since_s()
        return 0.0 if since_s is None else trio.current_time() - since_s

    def check_accepting(self) -> None:
        if self._fault:
            raise StoreUnavailableError(f"{self._fault}: nothing was changed, try again later")

    def append(self, change: Change) -> None:
        self._pending.add(change, trio.current_time())
        if self._fault:
            self._drop()
        self._idle.unpark()
        self._moved.unpark()

    async def flushed(self) -> None:
        """Return once every change appended before this call is durable. Raises `StoreUnavailableError` if
        they cannot be written now, and `StoreWriteError` if `run` has ended without them."""
        target = self._pending.added
        if self._durable >= target:
            await trio.lowlevel.checkpoint()
            return
        # There is no await between the test of `_durable` and the wait, so no wake-up is lost.
        if not self._ended.is_set() and not self._fault:
            if not self._waiting or self._waiting[-1][0] != target:
                self._waiting.append((target, trio.Event()))
            await self._waiting[-1][1].wait()
        if self._durable < target:
            if self._ended.is_set():
                raise self._failure or StoreWriteError(f"{self._path} is closed: nothing more can be kept")
            raise StoreUnavailableError(
                f"{self._fault or f'cannot write {self._path}'}: the change is not durable, and may still be"
            )

    async def backup(self) -> BinaryIO:
        """Return a copy with every change appended before this call: an open file, gone once closed.

        The writer makes it between two batches (DESIGN 42). Raises `StoreError`.
        """
        if self._ended.is_set():
            raise StoreError(f"{self._path} is closed: nothing can be copied")
        if self._fault:
            raise StoreUnavailableError(f"{self._fault}: no copy can be made, try again later")
        order = _Order(self._pending.added)
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
        """Write changes until cancelled. It is started once a first write has shown whether it can write."""
        # Only `_closing` and this scope's deadline end the writer, so a cancellation cuts off neither a batch
        # nor the closing.
        grace = trio.CancelScope(shield=True)
        tried = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self._write_until_closing, tried, grace)
                try:
                    with trio.move_on_after(STALL_S):
                        await tried.wait()
                    task_status.started()
                    await self._ended.wait()
                    nursery.cancel_scope.cancel()
                finally:
                    grace.deadline = trio.current_time() + CLOSE_TIMEOUT_S
                    self._closing.set()
                    self._idle.unpark()
        finally:
            if self._failure is not None:
                raise self._failure  # also in place of a cancellation: the process must not exit with 0

    async def _write_until_closing(self, tried: trio.Event, grace: trio.CancelScope) -> None:
        with grace:
            await self._work(tried)
            if self._database is not None:
                await trio.to_thread.run_sync(self._database.close, abandon_on_cancel=True)
        if self.unwritten:
            why = self._fault or f"cannot write {self._path}"
            if grace.cancelled_caught:
                why = f"{self._path} was not written within {CLOSE_TIMEOUT_S:g} s of closing"
            self._failure = StoreWriteError(
                f"{why}: {self.unwritten} unacknowledged changes are lost: see to the disk and start again"
            )
        self._ended.set()
        self._wake(self._pending.added)
        self._refuse_orders(None)

    async def _work(self, tried: trio.Event) -> None:
        """Write batches and make copies. Once closing, return when all is written or a write fails."""
        failures = 0
        while True:
            if self._orders and self._orders[0].changes <= self._durable and not self._closing.is_set():
                await self._copy(self._orders.popleft())
            elif self._pending or failures or not tried.is_set():
                written = await self._write_batch()
                tried.set()
                failures = 0 if written else failures + 1
                if failures and self._closing.is_set():
                    return
                if failures:
                    with trio.move_on_after(min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(failures - 1, 20))):
                        await self._closing.wait()
            elif self._closing.is_set():
                return
            else:
                await self._idle.park()

    async def _write_batch(self) -> bool:
        """Write what is pending, or an empty batch as a test; return True if that succeeds."""
        began_s = trio.current_time()
        batch = self._pending.take(MAX_BATCH_CHANGES)
        self._writing_since_s = batch.since_s if batch.changes else began_s
        try:
            # The thread is abandoned when the grace has run out, as a thread in a hanging write cannot be
            # stopped.
            await trio.to_thread.run_sync(self._write, batch, abandon_on_cancel=True)
        except StoreError as error:
            self._pending.put_back(batch)
            self._set_fault(str(error))
            return False
        finally:
            self._writing_since_s = None
            self._moved.unpark()
        self._durable = batch.upto
        if batch.changes:
            ids = [change.entry.event_id for change in batch.changes if change.entry is not None]
            self._durable_event_id = ids[-1] if ids else self._durable_event_id
            self._observer.batch_written(len(batch.changes), trio.current_time() - began_s)
        self._wake(self._durable)
        if self._fault and self.oldest_unwritten_s() < STALL_S:
            self._clear_fault()
        return True

    def _write(self, batch: Batch) -> None:
        """Write `batch`, in the thread. Raises `StoreError`."""
        if self._database is None:
            database = Database(self._path)
            if database.snapshot() != self._unopened:
                database.close()
                raise StoreError(f"{self._path} is not the file that was loaded: start again")
            self._database, self._unopened = database, None
        self._database.write(batch.changes)

    async def _watch(self) -> None:
        """Set the fault if the disk hangs."""
        while True:
            since_s = self._unwritten_since_s()
            if since_s is None or self._fault:
                await self._moved.park()
            elif trio.current_time() < since_s + STALL_S:
                await trio.sleep_until(since_s + STALL_S)
            else:
                self._set_fault(f"{self._path} has taken no change for {STALL_S:g} s: the disk hangs")

    def _unwritten_since_s(self) -> float | None:
        return self._pending.since_s if self._writing_since_s is None else self._writing_since_s

    def _set_fault(self, fault: str) -> None:
        """Record that the store cannot write, and answer the callers that wait."""
        if not self._fault:
            self._fault_since_s = trio.current_time()
            log.error("store_unavailable", error=fault, unwritten=self.unwritten)
        changed, self._fault = fault != self._fault, fault
        self._drop()
        self._wake(self._pending.added)
        self._refuse_orders(StoreUnavailableError(f"{fault}: no copy can be made, try again later"))
        if changed:
            self._observer.fault_changed(fault)

    def _clear_fault(self) -> None:
        log.info(
            "store_recovered",
            after_s=round(trio.current_time() - self._fault_since_s, 3),
            dropped_entries=self._dropped,
        )
        self._fault, self._dropped = "", 0
        self._observer.fault_changed("")

    def _drop(self) -> None:
        dropped = self._pending.bound()
        if dropped:
            self._dropped += dropped
            self._observer.history_dropped(dropped)

    async def _copy(self, order: _Order) -> None:
        """Make the copy. A failure concerns only its caller, not the store."""
        if order.given_up:
            return
        assert self._database is not None, "there is no order while the file is not open"
        try:
            copy = await trio.to_thread.run_sync(self._database.copied, abandon_on_cancel=True)
        except StoreError as error:
            order.error = error
        else:
            order.fill(copy)
        order.done.set()

    def _refuse_orders(self, error: StoreError | None) -> None:
        while self._orders:
            order = self._orders.popleft()
            order.error = error
            order.done.set()

    def _wake(self, up_to: int) -> None:
        while self._waiting and self._waiting[0][0] <= up_to:
            self._waiting.popleft()[1].set()
