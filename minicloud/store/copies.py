"""Files that hold a registry, made whole or not at all: what has its name is complete, and on the disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

from minicloud.core.errors import StoreError


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Copy what `connection` has committed to a file at `target`, in place of one that was there. Raises
    `StoreError`."""
    put_in_place(target, partial(fill_with_copy, connection))


def fill_with_copy(connection: sqlite3.Connection, empty: Path) -> None:
    """Copy what `connection` has committed into the empty file at `empty`; whoever wants it on the disk syncs
    it. Takes some 2 ms a megabyte, in which `connection` can do nothing else. Raises `StoreError`."""
    try:
        copy = sqlite3.connect(empty, isolation_level=None)
        try:
            copy.execute("PRAGMA synchronous = OFF")
            connection.backup(copy)
        finally:
            copy.close()
    except sqlite3.Error as error:
        raise StoreError(f"cannot copy the registry to {empty}: {error}") from error


def copy_file(source: Path, target: Path) -> None:
    """Copy the file at `source`, for this user alone; raises `OSError`."""
    make_empty(target)
    shutil.copyfile(source, target)


def make_empty(path: Path) -> None:
    """Make an empty file at `path`, for this user alone, in place of one that was there."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def put_in_place(target: Path, fill: Callable[[Path], None]) -> None:
    """Have `fill` write an empty file under a name of its own, make that durable, and then give it the name
    `target`, in place of one that was there. Raises `StoreError` where it cannot be, leaving nothing."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        make_empty(unfinished)
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
