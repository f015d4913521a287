"""Fixtures that the tests of the store share."""

from __future__ import annotations

import pytest

from minicloud.store import sqlite


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not taken for a hanging disk, except by tests of hanging disks."""
    monkeypatch.setattr(sqlite, "STALL_S", 60.0)
