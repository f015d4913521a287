"""A copy of a registry in use is complete, and nothing else waits for it or fails with it (DESIGN 42)."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import trio

from minicloud.core.errors import StoreError
from minicloud.store.sqlite import database
from minicloud.store.sqlite.store import MAX_BATCH_CHANGES, SqliteStore
from tests.unit.store.changes import kept


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        with trio.fail_after(30):
            yield store
        nursery.cancel_scope.cancel()


def event_ids(copy: BinaryIO, folder: Path) -> list[int]:
    (folder / "seen.db").write_bytes(copy.read())
    connection = sqlite3.connect(folder / "seen.db")
    try:
        return [event_id for (event_id,) in connection.execute("SELECT event_id FROM entries ORDER BY 1")]
    finally:
        connection.close()


async def test_copy_holds_every_change_made_before_it(tmp_path: Path) -> None:
    numbers = range(1, MAX_BATCH_CHANGES + 100)  # more than one batch
    async with running(tmp_path / "registry.db") as store:
        for number in numbers:
            store.append(kept(number, "one"))
        with await store.backup() as copy:
            assert event_ids(copy, tmp_path) == list(numbers)


async def test_copy_leaves_no_file_behind(tmp_path: Path) -> None:
    async with running(tmp_path / "registry.db") as store:
        with await store.backup():
            assert sorted(os.listdir(tmp_path)) == ["registry.db", "registry.db-wal"]


async def test_copy_can_be_taken_again_and_again_between_changes(tmp_path: Path) -> None:
    async with running(tmp_path / "registry.db") as store:
        for number in range(1, 20):
            store.append(kept(number))
            with await store.backup() as copy:
                assert event_ids(copy, tmp_path) == list(range(1, number + 1))


async def test_copy_that_cannot_be_made_fails_for_its_caller_alone(tmp_path: Path) -> None:
    (tmp_path / "registry.db.copy").mkdir()
    async with running(tmp_path / "registry.db") as store:
        with pytest.raises(StoreError, match=r"cannot copy the registry to .*: Is a directory"):
            await store.backup()
        store.append(kept(1))
        await store.flushed()
        (tmp_path / "registry.db.copy").rmdir()
        with await store.backup() as copy:
            assert event_ids(copy, tmp_path) == [1]


async def test_copy_nobody_waits_for_any_more_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[BinaryIO] = []
    copied = database.Database.copied

    def slowly(self: database.Database) -> BinaryIO:
        begun.set()
        go_on.wait(30)
        made.append(copied(self))
        return made[0]

    monkeypatch.setattr(database.Database, "copied", slowly)
    async with running(tmp_path / "registry.db") as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.backup)
            await trio.to_thread.run_sync(begun.wait, 30)
            nursery.cancel_scope.cancel()
        go_on.set()
        store.append(kept(1))
        await store.flushed()
        assert [copy.closed for copy in made] == [True]


async def test_copy_of_a_store_that_has_ended_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "registry.db") as store:
        pass
    with pytest.raises(StoreError, match="is closed"):
        await store.backup()


async def test_copy_waited_for_while_the_store_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = database.Database.write

    def slowly(self: database.Database, changes: list[object]) -> None:
        if changes:
            begun.set()
            go_on.wait(30)
        write(self, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(database.Database, "write", slowly)
    store = SqliteStore(tmp_path / "registry.db")
    await store.load()
    refused = trio.Event()

    async def order() -> None:
        with pytest.raises(StoreError, match="was closed before it could be copied"):
            await store.backup()
        refused.set()

    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            store.append(kept(1))
            await trio.to_thread.run_sync(begun.wait, 30)
            outer.start_soon(order)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            go_on.set()
        with trio.fail_after(10):
            await refused.wait()
