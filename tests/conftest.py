"""Which tests there are."""

from __future__ import annotations

import os
from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """`packaged` is about a built executable: it is there where MINICLOUD_EXECUTABLE names one, as `make
    test-binary` does."""
    return True if collection_path.name == "packaged" and "MINICLOUD_EXECUTABLE" not in os.environ else None
