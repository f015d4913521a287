"""The unpacked files of the executable, and the executable itself, are kept open while it runs (DESIGN 78).

A program that cleans up temporary files may empty the folder, and an upgrade replaces the executable: later
imports would find nothing, or something else. `systemd-tmpfiles` leaves a locked folder alone; against other
programs, the open files help.

Libraries are not kept, as the loader wants them by name: a program loads its own before it serves. The tests
in `tests/packaged/test_cleaned_up.py` find a library that is loaded later.
"""

from __future__ import annotations

import fcntl
import os
import sys
import zipimport
from contextlib import suppress
from pathlib import Path

_LIBRARY = "base_library.zip"


def keep_open() -> None:
    """Lock the folder, and read modules through open descriptors from here on, until the process ends."""
    folder = Path(getattr(sys, "_MEIPASS"))  # noqa: B009 (mypy knows no such name)
    with suppress(OSError):  # the file system has no locks
        # The lock is exclusive, as tmpfiles.d(5) takes a shared lock on the folders that it cleans.
        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    modules = sys.modules["pyimod02_importers"].pyz_archive  # PyInstaller's module
    modules._filename = _kept(modules._filename)
    library = str(folder / _LIBRARY)
    kept = _kept(library)
    zipimport._zip_directory_cache[kept] = zipimport._zip_directory_cache[library]  # type: ignore[attr-defined]
    for importer in sys.path_importer_cache.values():
        if isinstance(importer, zipimport.zipimporter) and importer.archive == library:
            importer.archive = kept


def _kept(path: str) -> str:
    """Return a path to the very file that is at `path` now; `path` itself where there is no /proc."""
    descriptor = os.open(path, os.O_RDONLY)
    kept = f"/proc/self/fd/{descriptor}"
    if Path(kept).exists():
        return kept
    os.close(descriptor)
    return path
