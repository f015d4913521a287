from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.cli.server import ScriptedServer, scripted_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Return a scripted control plane, to which commands go without --url."""
    with scripted_server() as script:
        monkeypatch.setenv("MINICLOUD_URL", script.url)
        yield script
