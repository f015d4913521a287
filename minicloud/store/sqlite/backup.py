"""This module inspects copies of the registry, takes them from a data folder, and restores them.

Always holds: a registry in use is neither copied nor replaced here; a registry that is replaced is kept
beside; the registry's name is that of a whole registry at every moment, the old one or the new one
(`tests/unit/store/test_backup.py`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from minicloud.core.errors import StoreError
from minicloud.store.sqlite.copies import copy_database, copy_file, make_private, put_in_place, sync
from minicloud.store.sqlite.database import Database
from minicloud.store.sqlite.opening import connect, primary_code, schema_version, told_in_one_line, value
from minicloud.store.sqlite.schema import APPLICATION_ID
from minicloud.store.sqlite.seal import SINCE_SCHEMA, DamageError, read_rows

# SQLite may leave these beside a file that was not closed in order.
_COMPANIONS = ("-wal", "-journal")


@dataclass(frozen=True, slots=True)
class Contents:
    """A `Contents` sums up a copy. `newest_ms` is the time of its last change in Unix milliseconds,
    0 if there is none."""

    schema: int
    workers: int
    entries: int
    newest_ms: int
    size_bytes: int


def look_into(path: Path) -> Contents:
    """Return the contents of the copy at `path`. Writes nothing. Raises `StoreError` unless it is a whole
    copy of a registry, of this MiniCloud or an older one."""
    if not path.is_file():
        raise StoreError(f"{path} is no file: name a backup")
    for companion in _COMPANIONS:
        if path.with_name(path.name + companion).exists():
            raise StoreError(
                f"{path} was not closed in order: {path.name}{companion} beside it has a part of it; "
                "take copies with minicloud backup"
            )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as copy:
            if value(copy, "PRAGMA application_id") != APPLICATION_ID:
                raise StoreError(f"{path} is no copy of a registry: name a backup")
            schema = schema_version(copy, path)
            # SQLite reads the missing part of a last page as zeros.
            if value(copy, "PRAGMA page_count") * value(copy, "PRAGMA page_size") != path.stat().st_size:
                raise _damaged(path)
            if value(copy, "PRAGMA integrity_check(1)") != "ok":
                raise _damaged(path)
            if schema >= SINCE_SCHEMA:
                read_rows(copy)
            return Contents(
                schema=schema,
                workers=value(copy, "SELECT count(*) FROM workers"),
                entries=value(copy, "SELECT count(*) FROM entries"),
                newest_ms=value(copy, "SELECT coalesce(max(at_ms), 0) FROM entries"),
                size_bytes=path.stat().st_size,
            )
    except DamageError as error:
        raise _damaged(path) from error
    except sqlite3.Error as error:
        if primary_code(error) == sqlite3.SQLITE_NOTADB:
            raise StoreError(f"{path} is no copy of a registry: name a backup") from error
        raise _damaged(path) from error


def back_up_at_rest(registry: Path, target: Path) -> Contents:
    """Copy the file of a control plane that does not run. Raises `StoreError`."""
    if not registry.is_file():
        raise StoreError(f"there is no {registry}: name the data folder of a control plane")
    with (
        _held(registry, "leave --data-dir out, and it makes the copy itself") as (connection, _),
        told_in_one_line(registry),
    ):
        schema_version(connection, registry)
        copy_database(connection, target, replaces=False)
    return look_into(target)


def check(source: Path, scratch: Path) -> Contents:
    """Return the contents of the copy at `source`, after opening it as a control plane does.

    It opens a copy of it at `scratch`, which it leaves there, closed and on the disk. Raises `StoreError`.
    """
    contents = look_into(source)
    try:
        copy_file(source, scratch)
        opened = Database(scratch, keeps_older=False)
        try:
            opened.snapshot()
        finally:
            opened.close()
        sync(scratch)
    except StoreError as error:
        raise _damaged(source) from error
    except OSError as error:
        raise StoreError(f"cannot copy {source} to {scratch}: {error.strerror or error}") from error
    return contents


def restore(source: Path, registry: Path, now: datetime) -> tuple[Contents, Path | None]:
    """Put the copy at `source` in the place of `registry`; return its contents and the path of the old file.

    Raises `StoreError`, and leaves the registry as it was, if the copy cannot be used or the registry is in
    use.
    """
    found: list[tuple[Contents, Path | None]] = []
    readable = True

    def fill(unfinished: Path) -> None:
        contents = check(source, unfinished)
        if os.geteuid() == 0:  # the owner is that of the folder: the service's user, not root
            owner = registry.parent.stat()
            os.chown(unfinished, owner.st_uid, owner.st_gid)
        old = _kept_beside(registry, now, readable) if registry.exists() else None
        found.append((contents, old))

    if registry.exists():
        with _held(registry, "stop the control plane first") as (_, readable):
            put_in_place(registry, fill, replaces=True)
    else:
        put_in_place(registry, fill, replaces=False)
    return found[0]


@contextmanager
def _held(registry: Path, remedy: str) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Lock `registry` against all other processes, and bring its log into it; yield whether it can be read.

    A registry that cannot be read is yielded without a lock, as no control plane can start on it.
    """
    connection = connect(registry)
    readable = True
    try:
        try:
            value(connection, "PRAGMA user_version")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")  # in this mode the lock stays
        except sqlite3.Error as error:
            if primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreError(f"{registry} is in use by a control plane: {remedy}") from error
            readable = False
        yield connection, readable
    finally:
        with suppress(sqlite3.Error):
            connection.close()


def _kept_beside(registry: Path, now: datetime, readable: bool) -> Path:
    """Give the file of `registry` a second name, which it keeps when the first one goes to another file."""
    old = name = registry.with_name(f"{registry.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    number = 1
    while os.path.lexists(old):  # another restore in the same second made it
        number += 1
        old = name.with_name(f"{name.name}-{number}")
    make_private(registry)
    for companion in _COMPANIONS:
        beside = registry.with_name(registry.name + companion)
        # The log of a registry that can be read is in its file already, and goes when it is closed.
        if beside.exists() and not readable:
            make_private(beside)
            os.rename(beside, old.with_name(old.name + companion))
    try:
        os.link(registry, old)
    except OSError:  # a file system without second names
        put_in_place(old, lambda unfinished: copy_file(registry, unfinished), replaces=False)
    return old


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged: take another backup")
