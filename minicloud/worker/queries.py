"""This module counts the queries that run here, and accepts or refuses new ones.

Always holds: a query that was accepted is counted until it ends, however it ends
(`tests/unit/worker/test_queries.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from minicloud.core.errors import MiniCloudError


class NotAcceptingError(MiniCloudError):
    """This worker takes no new work: it is cordoned, draining or leaving. Another one may."""


class QueryTracker:
    """This counts active queries. At first it accepts new ones."""

    def __init__(self) -> None:
        self._accepting = True
        self._active = 0
        self._idle = trio.Event()
        self._idle.set()

    @property
    def accepting(self) -> bool:
        """Return True while a query may start."""
        return self._accepting

    @property
    def active(self) -> int:
        """Return the number of queries that run."""
        return self._active

    def stop_accepting(self) -> None:
        """Refuse queries from now on. Those that run go on."""
        self._accepting = False

    def resume(self) -> None:
        """Accept queries again."""
        self._accepting = True

    @contextmanager
    def query(self) -> Iterator[None]:
        """Run one query inside. Raise `NotAcceptingError` where none may start."""
        if not self._accepting:
            raise NotAcceptingError("this worker takes no new queries: send them to another")
        if self._active == 0:
            self._idle = trio.Event()
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Return in a moment at which no query runs; at once if that is now.

        While queries are accepted, another may start unless the caller acts without awaiting.
        """
        # The attribute is read again each time, as there is a new event for each idle time.
        await self._idle.wait()
        while self._active:
            await self._idle.wait()
