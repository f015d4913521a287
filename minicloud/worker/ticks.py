"""When heartbeats are due. Pure: time and chance are passed in.

Always holds: ticks lie on a grid of one period, so neither slow answers nor jitter make them drift; a tick
that passed unused is skipped, so beats never come in a burst.
"""

from __future__ import annotations

import math
from random import Random

# Part of a period by which a beat may come before its tick. Two beats are then 1 - JITTER to 1 + JITTER
# periods apart. 0 would let workers whose ticks coincide coincide for ever; much more would make the silence
# the control plane sees between two beats uneven, which is what its timeout has to cover.
JITTER = 0.05


class Ticks:
    """A grid of ticks `period_s` apart whose first lies at a random phase: start + U(0, 1) * period.

    The phase spreads a crowd that registered at the same moment evenly over the period. The beat of a tick
    is due at tick - U(0, JITTER) * period: drawn anew for each, and never added up.
    """

    def __init__(self, start_s: float, period_s: float, random: Random) -> None:
        self._random = random
        self._period_s = period_s
        self._move_to(start_s + random.random() * period_s)

    @property
    def due_s(self) -> float:
        """When the next beat is due."""
        return self._due_s

    @property
    def period_s(self) -> float:
        return self._period_s

    def advance(self, now_s: float) -> None:
        """Go on to the first tick after `now_s`, unless the present one's beat is not due yet.

        A beat sent out of turn, to make up for a failed one, thereby takes no tick's place.
        """
        if now_s < self._due_s:
            return
        periods = max(1, math.floor((now_s - self._tick_s) / self._period_s) + 1)
        tick_s = self._tick_s + periods * self._period_s
        if tick_s <= now_s:  # the quotient was rounded down
            tick_s += self._period_s
        self._move_to(tick_s)

    def change_period(self, period_s: float, now_s: float) -> None:
        """From now on ticks are `period_s` apart, the next one that far from now.

        No phase is drawn anew: answers, and with them these moments, are spread already.
        """
        if period_s != self._period_s:
            self._period_s = period_s
            self._move_to(now_s + period_s)

    def _move_to(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._due_s = tick_s - self._random.random() * JITTER * self._period_s
