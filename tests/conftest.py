"""Which tests there are, and what all of them start from."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """`packaged` is about a built executable: it is there where MINICLOUD_EXECUTABLE names one, as `make
    test-binary` does."""
    return True if collection_path.name == "packaged" and "MINICLOUD_EXECUTABLE" not in os.environ else None


def pytest_configure() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and so would be all that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
