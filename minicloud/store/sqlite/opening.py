"""This module opens a registry's file, and makes the one line with the remedy if that fails.

Always holds: a process that has a file open keeps every other process from opening it, from its first read on
(`tests/unit/store/test_database.py`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minicloud import __version__
from minicloud.core.errors import InvalidError, StoreError, StoreInUseError, StoreUnavailableError
from minicloud.starting import is_lasting
from minicloud.store.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from minicloud.store.sqlite.seal import read_head

REGISTRY_NAME = "registry.db"  # in a control plane's data folder

ANEW = "workers register again by themselves"


# A disk that is full, read-only or broken gives these codes; the file itself may be whole.
_MAY_PASS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def failure(text: str, cause: OSError | sqlite3.Error | StoreError) -> StoreError:
    """Return the error with `text` for a failure by `cause`: `StoreUnavailableError` if a later try may
    succeed without a change of settings, as on a full disk."""
    match cause:
        case StoreError():
            may_pass = isinstance(cause, StoreUnavailableError)
        case OSError():
            may_pass = not is_lasting(cause)
        case _:
            may_pass = primary_code(cause) in _MAY_PASS
    return StoreUnavailableError(text) if may_pass else StoreError(text)


def connect(path: Path) -> sqlite3.Connection:
    """Connect to the file at `path`, made if it is missing. Reads nothing of it."""
    connection = sqlite3.connect(
        path,
        timeout=0.0,  # only another control plane could hold the lock, and that does not end
        isolation_level=None,  # transactions are begun and ended here, by name
        check_same_thread=False,
    )
    # Set before the first read, the mode needs no shared memory and holds the lock from then on. The kernel
    # releases the lock when the process dies.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def value(connection: sqlite3.Connection, query: str) -> Any:
    """Return the one value that `query` finds."""
    (found,) = connection.execute(query).fetchone()
    return found


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of the error, 0 if it has none."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file's schema, 0 of an empty file. Raises `StoreError` unless it is
    a registry that this MiniCloud can read."""
    application_id = value(connection, "PRAGMA application_id")
    version: int = value(connection, "PRAGMA user_version")
    if not (application_id or version or value(connection, "SELECT count(*) FROM sqlite_master")):
        return 0
    head = read_head(connection)
    if head is not None and (application_id != APPLICATION_ID or version < head.schema):
        raise damaged(path, f"its header says schema {version}, and it is of {head.schema}")
    if application_id != APPLICATION_ID:
        raise StoreError(f"{path} is another program's database: move it away or name another --data-dir")
    if version > SCHEMA_VERSION:
        writer = _written_by(connection)
        named = f", {writer}," if writer else ""
        raise StoreError(
            f"{path} was written by a newer MiniCloud{named} with schema {version}; this one, {__version__}, "
            f"knows schema {SCHEMA_VERSION}: run that version, bring back a copy from before the upgrade "
            f"(minicloud restore), or move the file and its -wal aside: {ANEW}"
        )
    if version < 1:
        raise damaged(path)
    return version


def damaged(path: Path, left: str = "") -> StoreError:
    """Return the error of a damaged registry; `left` names what can still be read of it."""
    found = f" ({left})" if left else ""
    return StoreError(
        f"{path} is damaged{found}: bring back a backup (minicloud restore), or move it and its -wal aside: "
        f"{ANEW}"
    )


@contextmanager
def told_in_one_line(path: Path) -> Iterator[None]:
    """Turn errors of opening or reading into a `StoreError` of one line with the remedy."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, InvalidError) as error:  # a row that makes no sense
        raise damaged(path) from error
    except sqlite3.Error as error:
        match primary_code(error):
            case sqlite3.SQLITE_NOTADB if _has_our_header(path):
                raise damaged(path, "its header") from error
            case sqlite3.SQLITE_READONLY if os.access(path, os.W_OK):
                raise damaged(path, "its header") from error  # a damaged header can make SQLite write nothing
            case sqlite3.SQLITE_NOTADB:
                text = f"{path} is not a database: move it aside or name another --data-dir: {ANEW}"
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise StoreInUseError(
                    f"{path} is in use by another process: stop the other control plane "
                    "or name another --data-dir"
                ) from error
            case sqlite3.SQLITE_PERM:
                text = f"cannot write {path}: {error}: name another --data-dir"
            case code if code in _MAY_PASS:
                raise StoreUnavailableError(
                    f"cannot use {path}: {error}: see to the disk, or name another --data-dir"
                ) from error
            case _:
                raise damaged(path) from error
        raise StoreError(text) from error


def _has_our_header(path: Path) -> bool:
    """Return True if the file begins like a registry, or has a part of that. No process has it open."""
    with suppress(OSError), path.open("rb") as file:
        header = file.read(100)  # sqlite.org/fileformat.html: the magic text, the application id at 68
        return header[:8] == b"SQLite f" or header[68:72] == APPLICATION_ID.to_bytes(4, "big")
    return False


def _written_by(connection: sqlite3.Connection) -> str:
    """Return the version of MiniCloud that last wrote the file, empty if it has none."""
    try:
        return str(value(connection, "SELECT version FROM written_by"))[:32]
    except (sqlite3.Error, TypeError):
        return ""
