"""This module makes files that hold a registry. A file gets its name once it is complete and on the disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from minicloud.core.errors import StoreError
from minicloud.store.sqlite.opening import failure

OWN_MODE = 0o600  # registries have operators' reasons and workers' addresses, which other users must not read


def copy_database(connection: sqlite3.Connection, target: Path, *, replaces: bool) -> None:
    """Copy what `connection` has committed to a file at `target`, with `put_in_place`. Raises
    `StoreError`."""
    put_in_place(target, partial(fill_with_copy, connection), replaces=replaces)


def fill_with_copy(connection: sqlite3.Connection, empty: Path) -> None:
    """Copy what `connection` has committed into the empty file at `empty`, without a sync.

    It takes some 2 ms a megabyte, in which `connection` can do nothing else. Raises `StoreError`.
    """
    try:
        copy = sqlite3.connect(empty, isolation_level=None)
        try:
            copy.execute("PRAGMA synchronous = OFF")
            connection.backup(copy)
        finally:
            copy.close()
    except sqlite3.Error as error:
        raise failure(f"cannot copy the registry to {empty}: {error}", error) from error


def copy_file(source: Path, target: Path) -> None:
    """Copy the file at `source`, readable by this user alone. Raises `OSError`."""
    make_empty(target)
    shutil.copyfile(source, target)


def make_empty(path: Path) -> None:
    """Make an empty file at `path`, readable by this user alone, in place of one that was there."""
    path.unlink(missing_ok=True)
    make_new(path)


def make_new(path: Path) -> None:
    """Make an empty file at `path`, readable by this user alone, whatever the umask. Raises
    `FileExistsError` if there is one."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWN_MODE)
    try:
        os.fchmod(descriptor, OWN_MODE)
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """Let only its owner read or write the file at `path`, if there is one and it is ours."""
    with suppress(FileNotFoundError, PermissionError):
        if stat.S_IMODE(path.stat().st_mode) & ~OWN_MODE:
            path.chmod(OWN_MODE)


def put_in_place(target: Path, fill: Callable[[Path], None], *, replaces: bool) -> None:
    """Have `fill` write an empty file under a name of its own, sync it, and rename it to `target`.

    A file that has the name already, or gets it meanwhile, is replaced only if `replaces`. Raises
    `StoreError` if that fails, and leaves no file.
    """
    try:
        unfinished = _make_unfinished(target, replaces)
        try:
            fill(unfinished)
            sync(unfinished)
            if replaces:
                os.replace(unfinished, target)
            else:
                _give_free_name(unfinished, target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync(target.parent)
    except FileExistsError as error:
        raise StoreError(f"{target} is there already: name another file, or remove it first") from error
    except OSError as error:
        raise failure(f"cannot write {target}: {error.strerror or error}", error) from error


def _make_unfinished(target: Path, replaces: bool) -> Path:
    """Make an empty file in the folder of `target`.

    With `replaces` it always has the same name, so a kill leaves one of them at most. Without, it has a name
    that no other file has.
    """
    unfinished = target.with_name(f"{target.name}.unfinished")
    if replaces:
        make_empty(unfinished)
        return unfinished
    for number in range(1, 1000):
        with suppress(FileExistsError):
            make_new(unfinished)
            return unfinished
        unfinished = target.with_name(f"{target.name}.unfinished-{number}")
    raise StoreError(f"{target}.unfinished and 999 more are there already: remove them")


def _give_free_name(unfinished: Path, target: Path) -> None:
    """Rename a file. Raises `FileExistsError` if the name is taken."""
    try:
        os.link(unfinished, target)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise
    except OSError:  # a file system without second names: take the name first
        make_new(target)
        os.replace(unfinished, target)
    else:
        unfinished.unlink()


def sync(path: Path) -> None:
    """Return once the file or folder at `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
