"""The tests with real processes share these fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import ControlPlane, Launcher


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    """Return a launcher of processes; those still running at the end of the test are killed."""
    with Launcher(tmp_path) as launcher:
        yield launcher


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return one control plane for the tests that change nothing of it, as starting one takes a second of CPU
    time.

    They keep apart by naming their workers after themselves.
    """
    with Launcher(tmp_path_factory.mktemp("shared")) as launcher:
        yield launcher.control_plane()
