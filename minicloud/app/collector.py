"""Full runs of the garbage collector are begun here, at moments when they cost little.

A closed connection needs no collector (DESIGN 70), but libraries make cycles, too. A full run looks at every
object: with 5,000 connections that takes a second, in which no heartbeat is answered. So a run is begun once
a minute, if its expected time is short. The expectation comes from the run before and from the connections
open now.

Always holds: no run is begun whose expected time is over `MOST_S` (`tests/unit/app/test_collector.py`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import trio

MOST_S = 0.05
EVERY_S = 60.0

# The expected time of the first run, for some 1,000 objects a connection and those of the program itself.
_FIRST_S = 0.02
_CONNECTIONS_AS_LARGE_AS_THE_PROGRAM = 100


class Collector:
    """A `Collector` calls `collect` where few `open_connections` make that cheap, and measures it with
    `now_s`."""

    def __init__(
        self,
        open_connections: Callable[[], int],
        *,
        collect: Callable[[], object] = gc.collect,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._open_connections = open_connections
        self._collect = collect
        self._now_s = now_s
        self._cost_s = _FIRST_S / _CONNECTIONS_AS_LARGE_AS_THE_PROGRAM  # for the objects of one connection

    async def run(self) -> None:
        """Consider a run every minute, until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            self.consider()

    def consider(self) -> bool:
        """Run the collector if the run is expected to be short. Returns True if it ran."""
        size = _CONNECTIONS_AS_LARGE_AS_THE_PROGRAM + self._open_connections()
        if size * self._cost_s > MOST_S:
            return False
        started_s = self._now_s()
        self._collect()
        self._cost_s = (self._now_s() - started_s) / size
        return True
