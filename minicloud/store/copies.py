"""Files that hold a registry, made whole or not at all: what has its name is complete, and on the disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from minicloud.core.errors import StoreError


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Copy what `connection` has committed to a file at `target`, for this user alone, in place of one that
    was there. Takes some 2 ms a megabyte, in which `connection` can do nothing else. Raises `StoreError`.
    """

    def fill(unfinished: Path) -> None:
        try:
            copy = sqlite3.connect(unfinished, isolation_level=None)
            try:
                copy.execute("PRAGMA synchronous = OFF")  # it is synced once, when it is complete
                connection.backup(copy)
            finally:
                copy.close()
        except sqlite3.Error as error:
            raise StoreError(f"cannot copy the registry to {target}: {error}") from error

    put_in_place(target, fill)


def put_in_place(target: Path, fill: Callable[[Path], None]) -> None:
    """Have `fill` write a file under a name of its own, make that durable, and then give it the name
    `target`, in place of one that was there. Raises `StoreError` where it cannot be, leaving nothing."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            fill(unfinished)
            sync(unfinished)
            os.replace(unfinished, target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Return once the file or folder at `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
