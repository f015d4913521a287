"""This module has the instants at which heartbeats are due. It is pure: time and chance are passed in (DESIGN
7).

Always holds: ticks lie on a grid of one period, so neither slow answers nor jitter make them drift; a missed
tick is skipped, so heartbeats never come in a burst. `tests/unit/worker/test_ticks.py` keeps these.
"""

from __future__ import annotations

import math
from random import Random

# A heartbeat may come before its tick by this part of a period, so two are 1 - JITTER to 1 + JITTER periods
# apart. With 0, workers whose ticks coincide would stay together for ever; with much more, the time between
# two heartbeats would vary more, and the timeout has to cover the longest.
JITTER = 0.05


class Ticks:
    """These are ticks `period_s` apart. The first lies at a random phase: start + U(0, 1) * period.

    The phase spreads workers that registered at the same moment evenly over the period. The heartbeat of a
    tick is due at tick - U(0, JITTER) * period, which is drawn for each and never added up.
    """

    def __init__(self, start_s: float, period_s: float, random: Random) -> None:
        self._random = random
        self._period_s = period_s
        self._move_to(start_s + random.random() * period_s)

    @property
    def due_s(self) -> float:
        """Return the instant at which the next heartbeat is due."""
        return self._due_s

    @property
    def period_s(self) -> float:
        return self._period_s

    def advance(self, now_s: float) -> None:
        """Go on to the first tick after `now_s`, unless the heartbeat of the present one is not due yet.

        So a heartbeat that repeats a failed one uses up no tick.
        """
        if now_s < self._due_s:
            return
        periods = max(1, math.floor((now_s - self._tick_s) / self._period_s) + 1)
        tick_s = self._tick_s + periods * self._period_s
        if tick_s <= now_s:  # the quotient was rounded down
            tick_s += self._period_s
        self._move_to(tick_s)

    def change_period(self, period_s: float, now_s: float) -> None:
        """Set the period to `period_s`, with the next tick that far from now.

        No phase is drawn again, as the instants of answers are spread already.
        """
        if period_s != self._period_s:
            self._period_s = period_s
            self._move_to(now_s + period_s)

    def _move_to(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._due_s = tick_s - self._random.random() * JITTER * self._period_s
