"""This module opens, checks, reads and writes the registry's SQLite file.

Every call blocks, and one call runs at a time, in any thread. Always holds: while a `Database` exists no
other process can open the file (`tests/unit/store/test_database.py`); a change is durable when `write`
returns (`tests/unit/store/test_kill.py`).

Rejected: one row of JSON a worker (SQL cannot query or migrate it); a lock file beside the database (stale
after a kill); repairing a damaged file (workers register again within a heartbeat, so an empty file is the
better repair).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import structlog

from minicloud import __version__
from minicloud.core.errors import StoreError, StoreUnavailableError, StoreWriteError
from minicloud.store.port import HISTORY_ENTRIES, MAX_RUNS, Change, Snapshot
from minicloud.store.sqlite.columns import ENTRIES, RUNS, WORKERS, Table
from minicloud.store.sqlite.columns import TABLES as KEPT
from minicloud.store.sqlite.copies import copy_database, fill_with_copy, make_empty, make_new, make_private
from minicloud.store.sqlite.opening import connect, damaged, failure, schema_version, told_in_one_line, value
from minicloud.store.sqlite.schema import SCHEMA_VERSION, TABLES, steps_from
from minicloud.store.sqlite.seal import (
    SINCE_SCHEMA,
    DamageError,
    Head,
    Total,
    read_head,
    read_rows,
    survey,
    write_head,
)

log = structlog.get_logger()

# The history is cut back when an event id passes a multiple of this, so most batches pay nothing. The file
# may hold this many entries too many. Ids, unlike a count, go on after a restart.
TRIM_EVERY_ENTRIES = HISTORY_ENTRIES // 10

R = TypeVar("R")


class Database:
    """A `Database` is the open file at `path`. It makes the folder (mode 0700) if that is missing.

    A file of an older schema is brought up to date, and kept beside as it was if `keeps_older`. Raises
    `StoreError`, one line with the file and the remedy, if the file is another program's, of a newer
    MiniCloud, damaged, in use by another process, or cannot be written.
    """

    def __init__(self, path: Path, *, keeps_older: bool = True) -> None:
        self._path = path
        self._keeps_older = keeps_older
        self._unsealed: set[int] = set()  # entries of a batch that is committed and not in the file yet
        self._make_folder()
        self._make_private()
        with told_in_one_line(path):
            self._connection = connect(path)
        try:
            with told_in_one_line(path):
                self._prepare()
                head = read_head(self._connection)
                if head is None:
                    raise damaged(path, survey(self._connection))
                self._head = head
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Bring the write-ahead log into the file and close it. A second call does nothing."""
        with suppress(sqlite3.Error):  # the log is durable, and is read at the next opening
            self._connection.close()

    def snapshot(self) -> Snapshot:
        """Return everything that is kept. Raises `StoreError` if it cannot be read or is damaged."""
        with told_in_one_line(self._path):
            try:
                self._head, records = read_rows(self._connection)
            except DamageError as error:
                raise damaged(self._path, str(error)) from error
            entries = records[ENTRIES.name]
            return Snapshot(
                workers=tuple(records[WORKERS.name]),
                entries=tuple(entries[-HISTORY_ENTRIES:]),
                incarnation_floor=self._value("SELECT incarnation FROM floor"),
                last_event_id=entries[-1].event_id if entries else 0,
                runs=tuple(records[RUNS.name]),
            )

    def write(self, changes: Sequence[Change]) -> None:
        """Make `changes` durable in their order, all or none. No changes are a test of whether it can write.

        Raises `StoreWriteError` if they may not be durable: the caller may give them again, with later ones.
        """
        try:
            self._commit(changes)
            self._seal()
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):  # where it fails, the next opening rolls back
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise StoreWriteError(f"cannot write {self._path}: {error}") from error

    def _commit(self, changes: Sequence[Change]) -> None:
        last_of = {change.worker_id: change.worker for change in changes if change.worker_id}
        runs = {change.run.number: change.run for change in changes if change.run is not None}
        entries = [change.entry for change in changes if change.entry is not None]
        # Entries of a batch that was committed and not sealed come again.
        new = [entry for entry in entries if entry.event_id not in self._unsealed]
        self._connection.execute("BEGIN IMMEDIATE")
        totals = dict(self._head.totals)
        self._remove(totals, WORKERS, last_of)
        self._add(totals, WORKERS, [worker for worker in last_of.values() if worker is not None])
        self._add(totals, ENTRIES, new)
        self._remove(totals, RUNS, runs)
        self._add(totals, RUNS, runs.values())
        if runs:
            self._remove_up_to(totals, RUNS, max(runs) - MAX_RUNS)
        if changes:
            self._connection.execute("UPDATE floor SET incarnation = ?", (changes[-1].incarnation_floor,))
        if new:
            self._trim(totals, new[0].event_id, new[-1].event_id)
        head = Head(SCHEMA_VERSION, self._head.batch + 1, totals)
        write_head(self._connection, head)
        self._connection.execute("COMMIT")
        self._head = head
        self._unsealed |= {entry.event_id for entry in new}

    def _seal(self) -> None:
        """Bring the write-ahead log into the file, and leave it empty.

        So no acknowledged change is in the log alone, which SQLite cuts short where it is damaged (DESIGN
        80).
        """
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy, "nobody else has the file open"
        self._unsealed = set()

    def _add(self, totals: dict[str, Total], table: Table[R], records: Iterable[R]) -> None:
        rows = [table.row(record) for record in records]
        self._connection.executemany(table.insert, rows)
        totals[table.name] = totals[table.name].plus(row[-1] for row in rows)

    def _remove(self, totals: dict[str, Total], table: Table[Any], keys: Iterable[str | int]) -> None:
        """Remove the rows of `keys` that are there."""
        where = f"FROM {table.name} WHERE {table.key} = ?"
        for key in keys:
            found = self._connection.execute(f"SELECT checksum {where}", (key,)).fetchone()
            if found is not None:
                totals[table.name] = totals[table.name].minus(found)
                self._connection.execute(f"DELETE {where}", (key,))

    def _trim(self, totals: dict[str, Total], first_id: int, last_id: int) -> None:
        """Cut the history back if the entries from `first_id` to `last_id` pass a multiple of that figure."""
        if (first_id - 1) // TRIM_EVERY_ENTRIES != last_id // TRIM_EVERY_ENTRIES:
            self._remove_up_to(totals, ENTRIES, last_id - HISTORY_ENTRIES)

    def _remove_up_to(self, totals: dict[str, Total], table: Table[Any], key: int) -> None:
        """Remove the rows with this key and all lower ones."""
        where = f"FROM {table.name} WHERE {table.key} <= ?"
        found = self._connection.execute(f"SELECT checksum {where}", (key,)).fetchall()
        totals[table.name] = totals[table.name].minus(checksum for (checksum,) in found)
        self._connection.execute(f"DELETE {where}", (key,))

    def copied(self) -> BinaryIO:
        """Return a copy of what has been written: an open file without a name, gone once closed.
        Raises `StoreError`."""
        # The folder of the registry has room for another one, and is private.
        path = self._path.with_name(f"{self._path.name}.copy")
        try:
            make_empty(path)
            try:
                fill_with_copy(self._connection, path)
                return path.open("rb")
            finally:
                path.unlink()
        except OSError as error:
            raise failure(f"cannot copy the registry to {path}: {error.strerror}", error) from error

    def _make_folder(self) -> None:
        path = self._path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            what = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
            text = f"cannot keep {path} in its folder: {what}: name another --data-dir"
            raise failure(text, error) from error
        if path.is_dir():
            raise StoreError(f"cannot write {path}: it is a folder: name another --data-dir")
        # SQLite would open a file that it may only read, and fail at the first change.
        for needed in (path.parent, path):
            if needed.exists() and not os.access(needed, os.R_OK | os.W_OK):
                if os.statvfs(needed).f_flag & os.ST_RDONLY:
                    raise StoreUnavailableError(f"cannot write {path}: its file system is read-only")
                raise StoreError(
                    f"cannot write {path}: no permission for {needed}: grant it, or name another --data-dir"
                )

    def _make_private(self) -> None:
        """Let only this user read the file and those that SQLite puts beside it. SQLite gives them
        the mode of the file."""
        try:
            if not self._path.exists():
                make_new(self._path)
        except OSError as error:
            raise failure(f"cannot write {self._path}: {error.strerror}", error) from error
        for suffix in ("", "-wal", "-journal", "-shm"):
            make_private(self._path.with_name(self._path.name + suffix))

    def _prepare(self) -> None:
        execute = self._connection.execute
        version = schema_version(self._connection, self._path)
        # The check, some 15 ms a megabyte, finds damage at the start, before it does harm.
        fault = self._value("PRAGMA integrity_check(1)")
        if fault != "ok":
            raise damaged(self._path, survey(self._connection) if version >= SINCE_SCHEMA else "")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")  # each commit waits for the disk; NORMAL may lose the last ones
        if 0 < version < SCHEMA_VERSION and self._keeps_older:
            self._keep_aside(version)
        execute("BEGIN IMMEDIATE")  # fails here and now where the file cannot be written
        for statement in steps_from(version) if version else TABLES:
            execute(statement)
        if version < SCHEMA_VERSION:
            self._compute_checksums()
        execute("UPDATE written_by SET version = ? WHERE version <> ?", (__version__, __version__))
        execute("COMMIT")

    def _compute_checksums(self) -> None:
        """Give each row its checksum, and the file its head."""
        totals = {table.name: Total() for table in KEPT}
        for table in KEPT:
            records = [table.parse_unchecked(row) for row in self._connection.execute(table.select)]
            self._connection.execute(f"DELETE FROM {table.name}")
            self._add(totals, table, records)
        write_head(self._connection, Head(SCHEMA_VERSION, 0, totals))

    def _keep_aside(self, version: int) -> None:
        """Copy the file as it is to one beside it, which an older MiniCloud can use."""
        aside = self._path.with_name(f"{self._path.name}.schema-{version}")
        copy_database(self._connection, aside, replaces=True)
        log.info("registry_upgraded", path=str(self._path), schema=SCHEMA_VERSION, old=str(aside))

    def _value(self, query: str) -> Any:
        return value(self._connection, query)
