"""This module collects log lines, whatever log settings a test before has left."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog


@contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect the lines logged in the block, at every level."""
    # A program that ran in this process before leaves its level behind.
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        yield lines
