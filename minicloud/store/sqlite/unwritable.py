"""This module reads a registry that cannot be written: on a full disk, or a read-only file system."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from minicloud.core.errors import StoreUnavailableError
from minicloud.store.port import Snapshot
from minicloud.store.sqlite.copies import copy_file
from minicloud.store.sqlite.database import Database

# The copy is made in memory if possible, as the folder for temporary files may be on the same full disk.
_IN_MEMORY = Path("/dev/shm")


def read_unwritable(path: Path, error: StoreUnavailableError) -> Snapshot:
    """Return everything in the registry at `path`, which could not be opened because of `error`.

    SQLite cannot read a file with a write-ahead log if it cannot write there, so a copy is opened. Raises
    `error` if there is no file to read or no room for a copy, and `StoreError` if it is damaged.
    """
    if not path.is_file() or not path.stat().st_size:
        raise error
    for folder in _folders():
        with (
            suppress(OSError, StoreUnavailableError),
            tempfile.TemporaryDirectory(prefix="minicloud-", dir=folder) as scratch,
        ):
            return _read_copy(path, Path(scratch) / path.name)
    raise error


def _folders() -> Iterator[Path]:
    if _IN_MEMORY.is_dir():
        yield _IN_MEMORY
    with suppress(OSError):  # no folder for temporary files can be written
        yield Path(tempfile.gettempdir())


def _read_copy(path: Path, copy: Path) -> Snapshot:
    wal = path.with_name(f"{path.name}-wal")
    copy_file(path, copy)
    if wal.exists():
        copy_file(wal, copy.with_name(wal.name))
    database = Database(copy, keeps_older=False)
    try:
        return database.snapshot()
    finally:
        database.close()
