"""The registry's SQLite file: opened, checked, read once and written in batches.

Every call blocks and one call runs at a time; which thread makes it does not matter here, and when a change
is due to be written is unknown (`store/sqlite.py`). Always holds: while a `Database` exists no other process
can open the file, and what `write` has returned from survives a crash of the process and of the machine.

Rejected: one row of JSON a worker (not to be queried or migrated by SQL); a lock file beside the database
(stale after a kill, and it does not stop a program that does not know of it); repairing a damaged file
(workers register again by themselves within a heartbeat, so that starting empty is the better repair).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from minicloud import __version__
from minicloud.core.errors import StoreError, StoreWriteError
from minicloud.store.columns import ENTRIES, RUNS, WORKERS
from minicloud.store.copies import copy_database, fill_with_copy, make_empty
from minicloud.store.opening import connect, damaged, schema_version, told_in_one_line, value
from minicloud.store.port import HISTORY_ENTRIES, MAX_RUNS, Change, Snapshot
from minicloud.store.schema import SCHEMA_VERSION, TABLES, steps_from

log = structlog.get_logger()

# The history is cut back when an event id passes a multiple of this: the file holds up to so many entries
# too many, and most batches pay nothing. Told by ids, not counted, so that restarts do not put it off.
TRIM_EVERY_ENTRIES = HISTORY_ENTRIES // 10

_PUT_WORKER = f"INSERT OR REPLACE {WORKERS.values}"
_PUT_ENTRY = f"INSERT {ENTRIES.values}"
_PUT_RUN = f"INSERT OR REPLACE {RUNS.values}"


class Database:
    """The open file at `path`, its folder made (mode 0700) if it is missing.

    A file of an older schema is brought up to date, and kept beside as it was unless told otherwise. Raises
    `StoreError`, one line with the file and the remedy, where the file is another program's, of a newer
    MiniCloud, damaged, in use by another process, or cannot be written.
    """

    def __init__(self, path: Path, *, keeps_older: bool = True) -> None:
        self._path = path
        self._keeps_older = keeps_older
        self._make_folder()
        with told_in_one_line(path):
            self._connection = connect(path)
        try:
            with told_in_one_line(path):
                self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Bring the write-ahead log into the file and let go of it. Harmless when repeated."""
        with suppress(sqlite3.Error):  # durable it is already: the log is read at the next opening
            self._connection.close()

    def snapshot(self) -> Snapshot:
        """All that is kept; raises `StoreError` where it cannot be read or makes no sense."""
        with told_in_one_line(self._path):
            execute = self._connection.execute
            workers = tuple(map(WORKERS.parse, execute(f"{WORKERS.select} ORDER BY worker_id")))
            newest = execute(f"{ENTRIES.select} ORDER BY event_id DESC LIMIT ?", (HISTORY_ENTRIES,))
            entries = tuple(map(ENTRIES.parse, reversed(newest.fetchall())))
            return Snapshot(
                workers=workers,
                entries=entries,
                incarnation_floor=self._value("SELECT incarnation FROM floor"),
                last_event_id=entries[-1].event_id if entries else 0,
                runs=tuple(map(RUNS.parse, execute(f"{RUNS.select} ORDER BY number"))),
            )

    def write(self, changes: Sequence[Change]) -> None:
        """Keep `changes` (at least one) in their order, durably and all of them; raises `StoreWriteError`
        having kept none."""
        last_of = {change.worker_id: change.worker for change in changes if change.worker_id}
        kept = [worker for worker in last_of.values() if worker is not None]
        gone = [(worker_id,) for worker_id, worker in last_of.items() if worker is None]
        entries = [change.entry for change in changes if change.entry is not None]
        runs = [change.run for change in changes if change.run is not None]
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_PUT_ENTRY, map(ENTRIES.row, entries))
            connection.executemany("DELETE FROM workers WHERE worker_id = ?", gone)
            connection.executemany(_PUT_WORKER, map(WORKERS.row, kept))
            connection.execute("UPDATE floor SET incarnation = ?", (changes[-1].incarnation_floor,))
            if entries:
                self._trim_history(entries[0].event_id, entries[-1].event_id)
            for run in runs:
                connection.execute(_PUT_RUN, RUNS.row(run))
                connection.execute("DELETE FROM runs WHERE number <= ?", (run.number - MAX_RUNS,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):  # where it fails, the next opening rolls back
                connection.execute("ROLLBACK")
            raise StoreWriteError(
                f"cannot write {self._path}: {error}: nothing acknowledged is lost, "
                "see to the disk and start again"
            ) from error

    def _trim_history(self, first_id: int, last_id: int) -> None:
        if (first_id - 1) // TRIM_EVERY_ENTRIES != last_id // TRIM_EVERY_ENTRIES:
            self._connection.execute("DELETE FROM entries WHERE event_id <= ?", (last_id - HISTORY_ENTRIES,))

    def copied(self) -> BinaryIO:
        """A copy of what has been written: an open file that has no name any more, and is gone once closed.
        Raises `StoreError`."""
        # Beside the registry, where there is room for another one, and for nobody else to see.
        path = self._path.with_name(f"{self._path.name}.copy")
        try:
            make_empty(path)
            try:
                fill_with_copy(self._connection, path)
                return path.open("rb")
            finally:
                path.unlink()
        except OSError as error:
            raise StoreError(f"cannot copy the registry to {path}: {error.strerror}") from error

    def _make_folder(self) -> None:
        path = self._path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            what = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
            raise StoreError(f"cannot keep {path} in its folder: {what}: name another --data-dir") from error
        # SQLite would open a file that it may only read, and fail at the first change.
        for needed in (path.parent, path):
            if needed.exists() and not os.access(needed, os.R_OK | os.W_OK):
                raise StoreError(
                    f"cannot write {path}: no permission for {needed}: grant it, or name another --data-dir"
                )

    def _prepare(self) -> None:
        execute = self._connection.execute
        version = schema_version(self._connection, self._path)
        # Damage that would come up in the middle of a day comes up now: some 5 ms a megabyte.
        if self._value("PRAGMA quick_check(1)") != "ok":
            raise damaged(self._path)
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")  # each commit waits for the disk; NORMAL may lose the last ones
        if 0 < version < SCHEMA_VERSION and self._keeps_older:
            self._keep_aside(version)
        execute("BEGIN IMMEDIATE")  # fails here and now where the file cannot be written
        for statement in steps_from(version) if version else TABLES:
            execute(statement)
        execute("UPDATE written_by SET version = ? WHERE version <> ?", (__version__, __version__))
        execute("COMMIT")

    def _keep_aside(self, version: int) -> None:
        """The file as it is, beside itself: what an older MiniCloud can be given back."""
        aside = self._path.with_name(f"{self._path.name}.schema-{version}")
        copy_database(self._connection, aside)
        log.info("registry_upgraded", path=str(self._path), schema=SCHEMA_VERSION, old=str(aside))

    def _value(self, query: str) -> Any:
        return value(self._connection, query)
