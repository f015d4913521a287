"""Group commit shares batches, wakes the waiting calls, and survives a cancelled or failing writer."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from minicloud.core.errors import StoreWriteError
from minicloud.store.port import Snapshot, StoreObserver
from minicloud.store.sqlite import store as sqlite
from minicloud.store.sqlite.store import MAX_BATCH_CHANGES, SqliteStore
from tests.unit.store.changes import kept
from tests.unit.store.files import read
from tests.unit.store.gate import Gate


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    gate.put_before(monkeypatch)
    return gate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


def event_ids(path: Path) -> list[int]:
    return [entry.event_id for entry in read(path).entries]


async def settled(done: list[str], expected: list[str]) -> None:
    """Wait until `done` holds what is expected, in any order; fail where it holds more or never that."""
    with trio.fail_after(10):
        while len(done) < len(expected):
            await wait_all_tasks_blocked(0.001)
    await wait_all_tasks_blocked(0.001)
    assert sorted(done) == sorted(expected)


async def test_writer_busy_with_one_change_writes_the_next_thousand_together(path: Path, gate: Gate) -> None:
    told: list[tuple[int, float]] = []
    store = SqliteStore(path, StoreObserver(batch_written=lambda changes, s: told.append((changes, s))))
    await store.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        store.append(kept(1))
        await gate.arrival()
        for number in range(2, 1002):
            store.append(kept(number))
        gate.let_through(2)
        with trio.fail_after(10):
            await store.flushed()
        nursery.cancel_scope.cancel()
    assert [len(batch) for batch in gate.batches] == [1, 1000]
    assert [changes for changes, _ in told] == [1, 1000]
    assert all(0.0 < seconds < 10.0 for _, seconds in told)


async def test_writer_with_more_than_a_batch_pending_writes_bounded_batches_in_order(
    path: Path, gate: Gate
) -> None:
    store = SqliteStore(path)
    await store.load()
    total = 2 * MAX_BATCH_CHANGES + 1
    for number in range(1, total + 1):  # before `run`, for which they wait
        store.append(kept(number, "one"))
    gate.let_through(3)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        with trio.fail_after(20):
            await store.flushed()
        nursery.cancel_scope.cancel()
    assert [len(batch) for batch in gate.batches] == [MAX_BATCH_CHANGES, MAX_BATCH_CHANGES, 1]
    assert [number for batch in gate.batches for number in batch] == list(range(1, total + 1))


async def test_flushed_waits_for_all_before_it_and_nothing_later(path: Path, gate: Gate) -> None:
    store = SqliteStore(path)
    await store.load()
    done: list[str] = []

    async def wait(name: str) -> None:
        await store.flushed()
        done.append(name)

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        store.append(kept(1))
        nursery.start_soon(wait, "first")
        await gate.arrival()
        nursery.start_soon(wait, "first, asked while it is being written")
        await settled(done, [])
        store.append(kept(2))
        store.append(kept(3))
        nursery.start_soon(wait, "third")
        await settled(done, [])
        gate.let_through()
        await gate.arrival()
        await settled(done, ["first", "first, asked while it is being written"])
        gate.let_through()
        await settled(done, ["first", "first, asked while it is being written", "third"])
        nursery.cancel_scope.cancel()


async def test_flushed_by_many_tasks_at_once_wakes_every_one(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    numbers = iter(range(1, 100_000))
    durable: list[int] = []

    async def work(turns: int) -> None:
        for _ in range(20):
            number = next(numbers)
            store.append(kept(number))
            for _ in range(turns):  # this reaches another point of the writer's round each time
                await trio.lowlevel.checkpoint()
            await store.flushed()
            durable.append(number)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            async with trio.open_nursery() as workers:
                for turns in range(50):
                    workers.start_soon(work, turns % 7)
            nursery.cancel_scope.cancel()
    assert sorted(durable) == list(range(1, 1001)) == event_ids(path)


async def test_flushed_given_up_by_one_task_still_wakes_the_others(path: Path, gate: Gate) -> None:
    store = SqliteStore(path)
    await store.load()
    done: list[str] = []

    async def wait() -> None:
        await store.flushed()
        done.append("stayed")

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        store.append(kept(1))
        nursery.start_soon(wait)
        await gate.arrival()
        with trio.move_on_after(0) as scope:
            await store.flushed()
        assert scope.cancelled_caught
        gate.let_through()
        await settled(done, ["stayed"])
        nursery.cancel_scope.cancel()


async def test_run_cancelled_while_writing_keeps_what_is_pending(path: Path, gate: Gate) -> None:
    store = SqliteStore(path)
    await store.load()
    done: list[str] = []

    async def wait() -> None:
        await store.flushed()
        done.append("acknowledged")

    async with trio.open_nursery() as nursery, trio.open_nursery() as running:
        await running.start(store.run)
        store.append(kept(1))
        await gate.arrival()
        for number in range(2, 12):
            store.append(kept(number))
        nursery.start_soon(wait)
        await wait_all_tasks_blocked(0.001)
        running.cancel_scope.cancel()
        gate.let_through(2)
    assert done == ["acknowledged"]
    assert event_ids(path) == list(range(1, 12))
    assert not path.with_name(path.name + "-wal").exists()  # it is brought into the file


async def test_run_cancelled_while_idle_lets_go_of_the_file(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await wait_all_tasks_blocked(0.001)
            nursery.cancel_scope.cancel()
    assert read(path) == Snapshot()


async def test_run_cancelled_over_a_hanging_disk_gives_up_and_says_so(
    path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CLOSE_TIMEOUT_S", 0.05)
    store = SqliteStore(path)
    await store.load()
    try:
        with pytest.RaisesGroup(
            pytest.RaisesExc(StoreWriteError, match=r"registry\.db was not written within 0\.05 s .* 1 unack")
        ):
            async with trio.open_nursery() as nursery:
                await nursery.start(store.run)
                store.append(kept(1))
                await gate.arrival()
                nursery.cancel_scope.cancel()
        with pytest.raises(StoreWriteError, match="was not written"):
            await store.flushed()
    finally:
        gate.let_through()  # the abandoned thread ends, and only then may the file be closed under it
        with trio.fail_after(10):
            await trio.to_thread.run_sync(gate.written.acquire)
        assert store._database is not None
        store._database.close()
    assert event_ids(path) == [1]  # one change more than was promised


async def test_flushed_after_a_clean_end_refuses_what_came_too_late(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        nursery.cancel_scope.cancel()
    await store.flushed()
    store.append(kept(1))
    with pytest.raises(StoreWriteError, match=r"registry\.db is closed"):
        await store.flushed()
