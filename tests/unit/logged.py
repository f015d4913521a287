"""What is logged, whatever a test before has set the log to."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog


@contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines logged in the block, at every level."""
    # A program that was run in this process leaves its level behind.
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        yield lines
