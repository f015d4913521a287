"""Every store keeps what the port promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from minicloud.store.memory import MemoryStore
from minicloud.store.port import HISTORY_ENTRIES, Snapshot, Store
from minicloud.store.sqlite.store import SqliteStore
from tests.unit.store.changes import entry, gone, kept, stored

Reopen = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Return another store over the data of the one before it."""
    memory = MemoryStore()
    if request.param == "memory":
        return lambda: memory
    return lambda: SqliteStore(tmp_path / "data" / "registry.db")


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Snapshot]:
    snapshot = await store.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield snapshot
        nursery.cancel_scope.cancel()


async def test_store_never_used_loads_nothing(reopen: Reopen) -> None:
    async with running(reopen()) as snapshot:
        assert snapshot == Snapshot()
    async with running(reopen()) as snapshot:
        assert snapshot == Snapshot()


async def test_store_reopened_loads_every_field_of_what_was_appended(reopen: Reopen) -> None:
    store = reopen()
    async with running(store):
        store.append(kept(1))
        await store.flushed()
    async with running(reopen()) as snapshot:
        assert snapshot.workers == (stored(1),)
        assert dict(snapshot.workers[0].metadata) == dict(stored(1).metadata)
        assert snapshot.entries == (entry(1),)
        assert type(snapshot.workers[0].health) is type(stored(1).health)
        assert type(snapshot.entries[0].old_status) is type(entry(1).old_status)


async def test_store_reopened_loads_workers_by_id_and_entries_by_age(reopen: Reopen) -> None:
    store = reopen()
    ids = ["b", "a-10", "a", "B", "a-9", "_", "10", "9"]
    async with running(store):
        for number, worker_id in enumerate(ids, start=1):
            store.append(kept(number, worker_id))
    async with running(reopen()) as snapshot:
        assert [worker.worker_id for worker in snapshot.workers] == sorted(ids)
        assert [each.worker_id for each in snapshot.entries] == ids


async def test_store_with_several_changes_of_a_worker_keeps_the_last(reopen: Reopen) -> None:
    store = reopen()
    async with running(store):
        for change in (
            kept(1, "again"), kept(2, "again"),
            kept(3, "left"), gone(4, "left", floor=3),
            kept(5, "back", floor=3), gone(6, "back", floor=5), kept(7, "back", floor=5),
            gone(8, "never-there", floor=5),
        ):  # fmt: skip
            store.append(change)
        await store.flushed()
        store.append(gone(9, "again", floor=9))  # in a batch of its own
        await store.flushed()
    async with running(reopen()) as snapshot:
        assert snapshot.workers == (stored(7, "back"),)
        assert [each.event_id for each in snapshot.entries] == list(range(1, 10))
        assert snapshot.incarnation_floor == 9


async def test_store_reopened_twice_goes_on_counting(reopen: Reopen) -> None:
    for first in (1, 4, 7):
        store = reopen()
        async with running(store) as snapshot:
            assert (snapshot.last_event_id, snapshot.incarnation_floor) == (first - 1, first - 1)
            for number in range(first, first + 3):
                store.append(kept(number, floor=number))
    async with running(reopen()) as snapshot:
        assert [each.event_id for each in snapshot.entries] == list(range(1, 10))
        assert len(snapshot.workers) == 9


async def test_store_with_more_than_the_history_keeps_the_newest_and_every_worker(reopen: Reopen) -> None:
    store = reopen()
    total = HISTORY_ENTRIES + 2_500
    async with running(store):
        store.append(kept(1, "oldest"))
        for number in range(2, total + 1):
            store.append(kept(number, "busy"))
        await store.flushed()
    async with running(reopen()) as snapshot:
        assert len(snapshot.entries) == HISTORY_ENTRIES
        assert [each.event_id for each in snapshot.entries] == list(
            range(total - HISTORY_ENTRIES + 1, total + 1)
        )
        assert snapshot.last_event_id == total
        assert [worker.worker_id for worker in snapshot.workers] == ["busy", "oldest"]


async def test_store_with_nothing_pending_is_flushed_at_once(reopen: Reopen) -> None:
    store = reopen()
    async with running(store):
        with trio.fail_after(5):
            await store.flushed()
        with trio.move_on_after(0) as scope:  # it is a checkpoint nevertheless
            await store.flushed()
        assert scope.cancelled_caught
