"""The clocks of simulated machines, wrong by an offset, a rate and a wall clock that may be set.

Always holds: a node's monotonic clock never goes back, not even by rounding; a sleeper wakes at the first
instant at which its node's clock shows the time it waits for (tests/sim/test_engine.py).
"""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import Any

import trio

from sim.engine.process import Process
from sim.engine.timeline import Parked, Timeline

EPOCH_S = 1_800_000_000.0  # what right wall clocks show when a simulation begins


class NodeClock:
    """The clock of one machine; it runs on while programs come and go.

    `offset_s` is the monotonic time when the simulation begins, `rate` the number of its seconds that pass in
    a true one, `wall_error_s` the error of the wall clock.
    """

    def __init__(
        self, timeline: Timeline, offset_s: float = 0.0, rate: float = 1.0, wall_error_s: float = 0.0
    ) -> None:
        self.rate = rate
        self.wall_error_s = wall_error_s
        self._timeline = timeline
        self._anchor_true_s = timeline.now_s
        self._anchor_s = offset_s
        self._reached_s = offset_s  # shown before, or woken for: never less again
        self._rate_changes = 0
        self._sleepers: dict[Parked, Process] = {}

    def monotonic_s(self) -> float:
        """The monotonic time now."""
        now_s = self._anchor_s + (self._timeline.now_s - self._anchor_true_s) * self.rate
        if now_s > self._reached_s:
            self._reached_s = now_s
        return self._reached_s

    def wall_s(self) -> float:
        """The wall clock's time now, in Unix seconds. It drifts with the monotonic clock."""
        drift_s = self.monotonic_s() - self._anchor_s - (self._timeline.now_s - self._anchor_true_s)
        return EPOCH_S + self._timeline.now_s + drift_s + self.wall_error_s

    def true_s(self, at_s: float) -> float:
        """The true time at which the monotonic clock will show `at_s`, if its rate stays."""
        return self._anchor_true_s + (at_s - self._anchor_s) / self.rate

    def true_s_in(self, duration_s: float) -> float:
        """The true time at which `duration_s` of its own will have passed, if its rate stays."""
        return self._timeline.now_s + duration_s / self.rate

    def set_rate(self, rate: float) -> None:
        """Change the rate from now on; sleepers wake by the new rate."""
        assert rate > 0, "a clock never goes back"
        drift_s = self.monotonic_s() - self._anchor_s - (self._timeline.now_s - self._anchor_true_s)
        self.wall_error_s += drift_s
        self._anchor_s = self.monotonic_s()
        self._anchor_true_s = self._timeline.now_s
        self.rate = rate
        self._rate_changes += 1
        for sleeper, process in list(self._sleepers.items()):
            process.carry_out(sleeper.wake)  # not before it goes on, if it is paused

    def step_wall(self, by_s: float) -> None:
        """Set the wall clock forward by `by_s`, or back if that is negative."""
        self.wall_error_s += by_s

    async def sleep_until(self, process: Process, deadline_s: float) -> None:
        """Sleep, in `process`, until the monotonic clock shows `deadline_s`."""
        if self.monotonic_s() >= deadline_s:
            await trio.lowlevel.checkpoint()
            return
        while self._reached_s < deadline_s:
            parked = Parked()
            if deadline_s < math.inf:
                when_s = self.true_s(deadline_s)
                self._timeline.at(when_s, self._wake, parked, deadline_s, self._rate_changes, host=process)
            self._sleepers[parked] = process
            try:
                await parked
            finally:
                del self._sleepers[parked]

    def _wake(self, parked: Parked, deadline_s: float, rate_changes: int) -> None:
        if rate_changes != self._rate_changes:
            return  # too soon or too late by the new rate, whose beginning woke the sleeper
        if self._reached_s < deadline_s:
            self._reached_s = deadline_s  # which rounding may leave an ulp ahead
        parked.wake()


class ProcessClock:
    """Presents a node's clock as `minicloud.clock.Clock`, for one process on that node."""

    def __init__(self, node: NodeClock, process: Process) -> None:
        self.monotonic_s = node.monotonic_s
        self.wall_s = node.wall_s
        self._node = node
        self._process = process

    def sleep_until(self, deadline_s: float) -> Coroutine[Any, Any, None]:
        return self._node.sleep_until(self._process, deadline_s)
