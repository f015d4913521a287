"""This module mounts file systems with limits, which only some processes see."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class OwnMount:
    """An `OwnMount` is a file system at `path` that only processes run behind `inside` can see.

    `mount` are the arguments of the command that mounts it there. Raises `PermissionError` where the test has
    no right to mount.
    """

    def __init__(self, path: Path, mount: str) -> None:
        self.path = path
        self._frozen = False
        script = f'mount {mount} "{path}" && echo mounted && exec sleep 600'
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
        """Mount it again, with its content, with other options."""
        subprocess.run([*self.inside, "mount", "-o", f"remount,{options}", self.path], check=True)

    def run(self, script: str) -> None:
        """Run a shell script that sees it."""
        subprocess.run([*self.inside, "sh", "-ec", script], check=True, timeout=30)

    def fill(self) -> None:
        """Fill it up completely."""
        self.run(f'cat /dev/zero > "{self.path}/filler" 2> /dev/null || true')

    def free(self) -> None:
        """Undo `fill`."""
        self.run(f'rm "{self.path}/filler"')

    def freeze(self) -> None:
        """Have every write to it hang, in the kernel."""
        self._frozen = True
        self.run(f'fsfreeze -f "{self.path}"')

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.run(f'fsfreeze -u "{self.path}"')
        self._frozen = False

    def close(self) -> None:
        if self._frozen:  # otherwise a process that writes to it could not even be killed
            self.thaw()
        self._holder.kill()
        self._holder.communicate()


@contextmanager
def mounted(path: Path, options: str) -> Iterator[OwnMount]:
    """Mount a file system in memory with these options at `path` for the block; skip the test where that
    fails."""
    with _mounted(path, f'-t tmpfs -o "{options}" none') as disk:
        yield disk


@contextmanager
def freezable(path: Path) -> Iterator[OwnMount]:
    """Mount a file system that can be frozen at `path` for the block; skip the test where that fails."""
    if not (shutil.which("mkfs.ext4") and shutil.which("fsfreeze")):
        pytest.skip("no mkfs.ext4 and fsfreeze here")
    image = path.with_name(f"{path.name}.image")
    image.touch()
    os.truncate(image, 16 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, timeout=30)
    with _mounted(path, f'-o loop "{image}"') as disk:
        yield disk


@contextmanager
def _mounted(path: Path, mount: str) -> Iterator[OwnMount]:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        pytest.skip("no unshare and nsenter here")
    path.mkdir()
    try:
        disk = OwnMount(path, mount)
    except PermissionError as error:
        pytest.skip(f"no file system may be mounted here: {error}")
    try:
        yield disk
    finally:
        disk.close()
