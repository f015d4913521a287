"""The unpacked files of the executable, and the executable itself, kept open for as long as it runs.

A program that cleans up temporary files may empty the folder, and an upgrade replaces the executable: imports
that come later would find nothing, or something else. `systemd-tmpfiles` leaves a folder alone that is
locked; from others, the open files are safe.

Libraries are not kept, as the loader wants them by name: a program loads its own before it serves. The tests
in `tests/packaged/test_cleaned_up.py` find the one that it does not.
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
    """Lock the folder, and read modules through descriptors from here on. Their end is the process's."""
    folder = Path(getattr(sys, "_MEIPASS"))  # noqa: B009 (mypy knows no such name)
    with suppress(OSError):  # a file system without locks
        # Exclusive, as tmpfiles.d(5) takes a shared lock on what it cleans.
        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    modules = sys.modules["pyimod02_importers"].pyz_archive  # PyInstaller's
    modules._filename = _kept(modules._filename)
    library = str(folder / _LIBRARY)
    kept = _kept(library)
    zipimport._zip_directory_cache[kept] = zipimport._zip_directory_cache[library]  # type: ignore[attr-defined]
    for importer in sys.path_importer_cache.values():
        if isinstance(importer, zipimport.zipimporter) and importer.archive == library:
            importer.archive = kept


def _kept(path: str) -> str:
    """A path to the very file that is at `path` now; `path` itself where there is no /proc."""
    descriptor = os.open(path, os.O_RDONLY)
    kept = f"/proc/self/fd/{descriptor}"
    if Path(kept).exists():
        return kept
    os.close(descriptor)
    return path
