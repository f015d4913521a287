"""This module keeps the installation's lasting identity in a file of the data folder.

Always holds: an id is on the disk before it is returned, so a restart finds the same one; a file that cannot
be read is never replaced. `tests/unit/worker/test_identity.py` keeps these. Two processes must not share a
folder (DESIGN 22): the folder is held with `exclusive` while the worker runs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import structlog

from minicloud.core.errors import ConfigError, NotYetError
from minicloud.starting import start_error

FILE_NAME = "instance_id"
LOCK_NAME = "worker.lock"

_INSTANCE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)

log = structlog.get_logger()


@contextmanager
def exclusive(data_dir: Path | None) -> Iterator[None]:
    """Lock the folder against other workers, and make it where there is none.

    The kernel drops the lock with the process, however that ends; the lock's file stays. A folder that has
    the lock's file already may be read-only. Raise `NotYetError` where another worker has the folder or it
    cannot be written at present, `ConfigError` where it never can.
    """
    if data_dir is None:
        yield
        return
    lock = _open_lock(data_dir)
    try:
        yield
    finally:
        os.close(lock)


def instance_id_in(data_dir: Path | None, random: Random) -> str:
    """Return the installation's id, 32 hex digits (128 bits); make and keep one where there is none.

    Without a data folder the id is a new one each time. A damaged or empty file is made again, with a
    warning. Nothing is written where there is an id, so a full or read-only disk is then no obstacle. Raise
    `NotYetError` where the folder cannot be used at present, `ConfigError` where it never can.
    """
    if data_dir is None:
        return _new_id(random)
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        kept = _read(path)
        if kept is not None and _INSTANCE_ID.fullmatch(kept):
            return kept
        instance_id = _new_id(random)
        _write(path, instance_id)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    if kept is None:
        log.info("instance_id_made", path=str(path), instance_id=instance_id)
    else:
        log.warning("instance_id_damaged", path=str(path), found=kept[:64], instance_id=instance_id)
    return instance_id


def _open_lock(data_dir: Path) -> int:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = _open_lock_file(data_dir / LOCK_NAME)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
    except BlockingIOError:
        raise NotYetError(
            f"another worker uses the data folder {data_dir}: give this one its own with --data-dir FOLDER, "
            "or --data-dir none to keep nothing"
        ) from None
    except OSError as error:
        raise _unusable(data_dir, error) from error
    return lock


def _open_lock_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        try:
            return os.open(path, os.O_RDONLY)  # enough for a lock, but not over NFS (flock(2))
        except FileNotFoundError:
            raise error from None


def _unusable(data_dir: Path, error: OSError) -> ConfigError | NotYetError:
    return start_error(
        f"data folder {data_dir} cannot hold the worker's identity ({error.strerror or error}): "
        "make it writable, name another with --data-dir, or use --data-dir none",
        error,
    )


def _new_id(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("ascii", errors="replace").strip()
    except FileNotFoundError:
        return None


def _write(path: Path, instance_id: str) -> None:
    """Replace the file by a whole one: write beside it, make that durable, rename, make the name durable."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with open(beside, "w", encoding="ascii") as file:
            file.write(instance_id + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
