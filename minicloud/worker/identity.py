"""The installation's lasting identity, kept in a file of the data folder.

Always holds: an id handed out has reached the disk first, so a restart finds the same one; a file that
cannot be read is never replaced. Two processes must not share a folder: they would take each other's place.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from random import Random

import structlog

from minicloud.core.errors import ConfigError

FILE_NAME = "instance_id"

_INSTANCE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)

log = structlog.get_logger()


def instance_id_in(data_dir: Path | None, random: Random) -> str:
    """The installation's id, 32 hex digits (128 bits); made and kept where there is none.

    Without a data folder it is a fresh one each time. A damaged or empty file is made anew, with a warning.
    Raises `ConfigError` where the folder or the file cannot be used.
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
        raise ConfigError(
            f"data folder {data_dir} cannot hold the worker's identity ({error.strerror or error}): "
            "make it writable, name another with --data-dir, or use --data-dir none"
        ) from error
    if kept is None:
        log.info("instance_id_made", path=str(path), instance_id=instance_id)
    else:
        log.warning("instance_id_damaged", path=str(path), found=kept[:64], instance_id=instance_id)
    return instance_id


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
