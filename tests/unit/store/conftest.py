"""The tests of the store share these fixtures."""

from __future__ import annotations

import pytest

from minicloud.store.sqlite import store as sqlite


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a busy machine from being taken for a hanging disk, except in tests of hanging disks."""
    monkeypatch.setattr(sqlite, "STALL_S", 60.0)
