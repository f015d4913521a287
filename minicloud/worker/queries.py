"""How many queries run here, and whether more may start.

Always holds: what has been let in is counted until it ends, however it ends. Knows nothing of queries
themselves, nor why work is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from minicloud.core.errors import MiniCloudError


class NotAcceptingError(MiniCloudError):
    """This worker takes no new work: it is cordoned, draining or leaving. Another one may."""


class QueryTracker:
    """Counts active queries. Accepts work when made."""

    def __init__(self) -> None:
        self._accepting = True
        self._active = 0
        self._idle = trio.Event()
        self._idle.set()

    @property
    def accepting(self) -> bool:
        """May a query start now?"""
        return self._accepting

    @property
    def active(self) -> int:
        """Queries running now."""
        return self._active

    def stop_accepting(self) -> None:
        """Refuse queries from now on. Those that run go on."""
        self._accepting = False

    def resume(self) -> None:
        """Accept queries again."""
        self._accepting = True

    @contextmanager
    def query(self) -> Iterator[None]:
        """Run one query inside. Raises `NotAcceptingError` where none may start."""
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

        While queries are accepted the next may start before the caller acts on it without awaiting.
        """
        # The event is looked up again each time: one that was waited for may belong to an earlier idleness.
        await self._idle.wait()
        while self._active:
            await self._idle.wait()
