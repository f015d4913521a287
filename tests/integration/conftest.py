"""What the tests with real processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import ControlPlane, Launcher


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    """Starts processes; those still running at the end of the test are killed."""
    with Launcher(tmp_path) as launcher:
        yield launcher


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One control plane for tests that do nothing to it, as starting one takes a second of CPU time. They
    keep apart by naming their workers after themselves."""
    with Launcher(tmp_path_factory.mktemp("shared")) as launcher:
        yield launcher.control_plane()
