"""A store that cannot write refuses changes, goes on in memory, and leaves the right file afterwards (DESIGN
79)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from minicloud.core.errors import StoreError, StoreInUseError, StoreUnavailableError, StoreWriteError
from minicloud.store.port import HISTORY_ENTRIES, Change, StoreObserver
from minicloud.store.sqlite import store as sqlite
from minicloud.store.sqlite import unwritable
from minicloud.store.sqlite.database import Database
from minicloud.store.sqlite.store import SqliteStore
from tests.unit.logged import logged
from tests.unit.store.changes import gone, kept
from tests.unit.store.files import read
from tests.unit.store.gate import Gate

FULL = "the disk is full"


@dataclass
class Disk:
    """A `Disk` fails every write while `fault` is set, and counts the tries."""

    fault: str = ""
    tries: int = 0


@dataclass
class Observed:
    """An `Observed` has the calls that a store's observer got."""

    faults: list[str] = field(default_factory=list)
    dropped: int = 0

    def observer(self) -> StoreObserver:
        return StoreObserver(fault_changed=self.faults.append, history_dropped=self.drop)

    def drop(self, entries: int) -> None:
        self.dropped += entries


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()

    class FailingDatabase(Database):
        def write(self, changes: Sequence[Change]) -> None:
            disk.tries += 1
            if disk.fault:
                raise StoreWriteError(disk.fault)
            super().write(changes)

    monkeypatch.setattr(sqlite, "Database", FailingDatabase)
    monkeypatch.setattr(sqlite, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(sqlite, "RETRY_MAX_S", 0.01)
    return disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@asynccontextmanager
async def running(path: Path, observed: Observed | None = None) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, (observed or Observed()).observer())
    await store.load()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            yield store
            nursery.cancel_scope.cancel()


async def until_accepting(store: SqliteStore) -> None:
    with trio.fail_after(10):
        while True:
            with suppress(StoreUnavailableError):
                return store.check_accepting()
            await trio.sleep(0.001)


async def fail(store: SqliteStore, disk: Disk, change: Change) -> None:
    """Append `change` to a disk that fails, and check that the waiting call is refused."""
    disk.fault = FULL
    store.append(change)
    with pytest.raises(StoreUnavailableError, match=f"^{FULL}: the change is not durable, and may still be$"):
        await store.flushed()


async def test_store_whose_write_fails_refuses_what_has_to_be_durable_until_it_can_write(
    path: Path, disk: Disk
) -> None:
    async with running(path) as store:
        store.check_accepting()
        await fail(store, disk, kept(1))
        with pytest.raises(StoreUnavailableError, match=f"^{FULL}: nothing was changed, try again later$"):
            store.check_accepting()
        with pytest.raises(StoreUnavailableError):
            await store.flushed()
        with pytest.raises(StoreUnavailableError, match="no copy can be made"):
            await store.backup()
        disk.fault = ""
        await until_accepting(store)
        await store.flushed()


async def test_changes_made_while_the_store_cannot_write_are_written_once_it_can(
    path: Path, disk: Disk
) -> None:
    async with running(path) as store:
        store.append(kept(1, "a"))
        await store.flushed()
        assert store.durable_event_id == 1
        await fail(store, disk, kept(2, "b"))
        store.append(kept(3, "a", floor=7))
        store.append(gone(4, "b", floor=9))
        assert store.durable_event_id == 1
        assert store.unwritten == 3
        disk.fault = ""
        await until_accepting(store)
        assert (store.durable_event_id, store.unwritten, store.oldest_unwritten_s()) == (4, 0, 0.0)
    snapshot = read(path)
    assert [entry.event_id for entry in snapshot.entries] == [1, 2, 3, 4]
    assert snapshot.workers == (kept(3, "a").worker,)
    assert snapshot.incarnation_floor == 9


async def test_outage_is_logged_once_at_each_end_however_often_it_is_tried(path: Path, disk: Disk) -> None:
    observed = Observed()
    with logged() as lines:
        async with running(path, observed) as store:
            await fail(store, disk, kept(1))
            with trio.fail_after(10):
                while disk.tries < 10:  # noqa: ASYNC110 (a thread counts them)
                    await trio.sleep(0.001)
            disk.fault = ""
            await until_accepting(store)
    assert [line["event"] for line in lines] == ["store_unavailable", "store_recovered"]
    assert lines[0]["error"] == FULL
    assert lines[0]["log_level"] == "error"
    assert observed.faults == [FULL, ""]


async def test_history_beyond_its_bound_is_dropped_and_counted_and_no_worker_is_lost(
    path: Path, disk: Disk
) -> None:
    observed = Observed()
    more = 150
    with logged() as lines:
        async with running(path, observed) as store:
            await fail(store, disk, kept(1, "oldest"))
            for number in range(2, HISTORY_ENTRIES + more + 1):
                store.append(kept(number, "busy"))
            disk.fault = ""
            await until_accepting(store)
    assert observed.dropped == more
    assert lines[-1]["dropped_entries"] == more
    snapshot = read(path)
    assert [worker.worker_id for worker in snapshot.workers] == ["busy", "oldest"]
    assert len(snapshot.entries) == HISTORY_ENTRIES
    assert (snapshot.entries[0].event_id, snapshot.last_event_id) == (more + 1, HISTORY_ENTRIES + more)


async def test_store_that_cannot_write_at_its_start_is_unavailable_from_the_start(
    path: Path, disk: Disk
) -> None:
    disk.fault = FULL
    async with running(path) as store:
        with pytest.raises(StoreUnavailableError):
            store.check_accepting()
        disk.fault = ""
        await until_accepting(store)


async def test_store_closed_while_it_cannot_write_says_what_is_lost(path: Path, disk: Disk) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(
            StoreWriteError, match=f"^{FULL}: 2 unacknowledged changes are lost: see to the disk"
        )
    ):
        async with running(path) as store:
            await fail(store, disk, kept(1))
            store.append(kept(2))
    assert read(path).workers == ()


async def test_store_closed_while_it_cannot_write_with_nothing_unwritten_ends_in_order(
    path: Path, disk: Disk
) -> None:
    disk.fault = FULL
    async with running(path):
        pass


async def test_disk_that_hangs_is_seen_and_recovers_when_it_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.put_before(monkeypatch)
    monkeypatch.setattr(sqlite, "STALL_S", 0.05)
    observed = Observed()
    async with running(path, observed) as store:
        store.append(kept(1))
        await gate.arrival()
        with pytest.raises(
            StoreUnavailableError, match=r"taken no change for 0\.05 s: the disk hangs: the ch"
        ):
            await store.flushed()
        assert store.oldest_unwritten_s() >= 0.05
        with pytest.raises(StoreUnavailableError, match="the disk hangs: nothing was changed"):
            store.check_accepting()
        monkeypatch.setattr(sqlite, "STALL_S", 30.0)  # a busy machine must not be taken for another hang
        store.append(kept(2))  # a lease that expires
        gate.let_through(2)
        await until_accepting(store)
        await store.flushed()
    assert [entry.event_id for entry in read(path).entries] == [1, 2]
    assert observed.faults[-1] == ""


async def test_disk_that_is_merely_slow_stays_available(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.put_before(monkeypatch)
    observed = Observed()
    async with running(path, observed) as store:
        for number in range(1, 4):
            store.append(kept(number))
            await gate.arrival()
            await wait_all_tasks_blocked(0.01)
            store.check_accepting()
            gate.let_through()
            await store.flushed()
    assert observed.faults == []


@pytest.fixture
def unwritable_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a registry with one worker that can be read, and that cannot be opened until `fixed` is beside
    it."""
    database = Database(path)
    database.write([kept(1)])
    database.close()

    class UnwritableDatabase(Database):
        def __init__(self, wanted: Path, *, keeps_older: bool = True) -> None:
            if wanted == path and not path.with_name("fixed").exists():
                raise StoreUnavailableError("its file system is read-only")
            super().__init__(wanted, keeps_older=keeps_older)

    monkeypatch.setattr(sqlite, "Database", UnwritableDatabase)
    monkeypatch.setattr(unwritable, "Database", UnwritableDatabase)
    monkeypatch.setattr(sqlite, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(sqlite, "RETRY_MAX_S", 0.01)
    return path


async def test_registry_that_can_only_be_read_is_served_and_written_once_it_can_be(
    unwritable_file: Path,
) -> None:
    store = SqliteStore(unwritable_file)
    assert (await store.load()).workers == (kept(1).worker,)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        with pytest.raises(StoreUnavailableError, match="read-only"):
            store.check_accepting()
        store.append(kept(2))
        unwritable_file.with_name("fixed").touch()
        await until_accepting(store)
        nursery.cancel_scope.cancel()
    assert read(unwritable_file).workers == (kept(1).worker, kept(2).worker)


async def test_registry_that_became_another_one_meanwhile_is_not_written(unwritable_file: Path) -> None:
    store = SqliteStore(unwritable_file)
    await store.load()
    unwritable_file.with_name("fixed").touch()
    database = Database(unwritable_file)
    database.write([kept(2)])
    database.close()
    before = read(unwritable_file)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        with pytest.raises(StoreUnavailableError, match="is not the file that was loaded: start again"):
            store.check_accepting()
        nursery.cancel_scope.cancel()
    assert read(unwritable_file) == before


def test_registry_that_can_be_neither_read_nor_made_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: Path) -> None:
        raise StoreUnavailableError("no space is left")

    monkeypatch.setattr(sqlite, "Database", refuse)
    with pytest.raises(StoreUnavailableError, match="no space is left"):
        trio.run(SqliteStore(path).load)
    path.touch()  # created, and nothing else
    with pytest.raises(StoreUnavailableError, match="no space is left"):
        trio.run(SqliteStore(path).load)


def test_damaged_registry_is_refused_although_it_cannot_be_written(
    unwritable_file: Path,
) -> None:
    unwritable_file.write_bytes(unwritable_file.read_bytes()[:5000])
    with pytest.raises(StoreError, match="is damaged") as caught:
        trio.run(SqliteStore(unwritable_file).load)
    assert not isinstance(caught.value, StoreUnavailableError)


def test_registry_in_use_is_not_served_from_a_copy(path: Path) -> None:
    holder = Database(path)
    with pytest.raises(StoreInUseError):
        trio.run(SqliteStore(path).load)
    holder.close()


def test_registry_that_can_only_be_read_is_read_with_what_its_log_holds(path: Path, tmp_path: Path) -> None:
    database = Database(path)
    database._commit([kept(1)])  # and dies before that is in the file
    (tmp_path / "left").mkdir()
    for name in (path.name, f"{path.name}-wal"):
        shutil.copyfile(path.with_name(name), tmp_path / "left" / name)
    database.close()
    snapshot = unwritable.read_unwritable(tmp_path / "left" / path.name, StoreUnavailableError("read-only"))
    assert snapshot.workers == (kept(1).worker,)
