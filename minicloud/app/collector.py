"""Full runs of the garbage collector, when they cost little.

A closed connection needs no collector, but libraries make cycles, too, and a full run looks at every object
there is: a second for 5,000 connections, in which no heartbeat is answered. So it runs once a minute while
what it will take, by the last run and the connections open since, is short.

Always holds: no run is begun whose expected time is over `MOST_S`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import trio

MOST_S = 0.05
EVERY_S = 60.0

# Before there was a run: some 1,000 objects a connection, and those of the program itself.
_FIRST_S = 0.02
_CONNECTIONS_AS_LARGE_AS_THE_PROGRAM = 100


class Collector:
    """Runs `collect`, which `now_s` times, by the number of `open_connections`."""

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
        self._cost_s = _FIRST_S / _CONNECTIONS_AS_LARGE_AS_THE_PROGRAM  # of the objects of one connection

    async def run(self) -> None:
        """Consider a run every minute, until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            self.consider()

    def consider(self) -> bool:
        """Run if it costs little; whether it did."""
        size = _CONNECTIONS_AS_LARGE_AS_THE_PROGRAM + self._open_connections()
        if size * self._cost_s > MOST_S:
            return False
        started_s = self._now_s()
        self._collect()
        self._cost_s = (self._now_s() - started_s) / size
        return True
