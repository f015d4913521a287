"""File systems with limits, which only some processes see."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class OwnMount:
    """A file system at `path`, mounted with `options`, which only those run behind `inside` can see.

    Raises `PermissionError` where no such thing can be had.
    """

    def __init__(self, path: Path, options: str) -> None:
        self.path = path
        script = f'mount -t tmpfs -o "{options}" none "{path}" && echo mounted && exec sleep 600'
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.inside = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--")
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != b"mounted\n":
            reason = self._holder.stderr.read().decode()
            self.close()
            raise PermissionError(reason)

    def change(self, options: str) -> None:
        """Mount it again, with what it holds, with other options."""
        subprocess.run([*self.inside, "mount", "-o", f"remount,{options}", self.path], check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@contextmanager
def mounted(path: Path, options: str) -> Iterator[OwnMount]:
    """Such a file system, at a folder made for it; the test is skipped where there can be none."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no unshare and nsenter here")
    path.mkdir()
    try:
        disk = OwnMount(path, options)
    except PermissionError as error:
        pytest.skip(f"no file system may be mounted here: {error}")
    try:
        yield disk
    finally:
        disk.close()
