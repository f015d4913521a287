"""The tests of the executable share these fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import PROGRAM, Launcher


@pytest.fixture
def executable() -> Path:
    """Return the executable."""
    return Path(PROGRAM[0])


@pytest.fixture
def dist(executable: Path) -> Path:
    """Return the folder with all files of one build."""
    return executable.parent


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """Return the folder where executables unpack themselves, each into one of its own."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    return folder


@pytest.fixture
def launch(tmp_path: Path, unpacked: Path) -> Iterator[Launcher]:
    """Return a launcher of processes; those still running at the end of the test are killed."""
    with Launcher(tmp_path, {"TMPDIR": str(unpacked)}) as launcher:
        yield launcher
