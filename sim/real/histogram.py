"""Durations counted in buckets that grow by 5%: percentiles of any number of them in bounded memory.

Always holds: a percentile is at most 5% above the true one, and never above the longest duration seen.
"""

from __future__ import annotations

import math

from sim.verdict.outcome import Quantiles

# From 10 us, below which nothing crosses a socket, to 1,000 s, above which no call waits.
_LEAST_S, _MOST_S, _GROWTH = 1e-5, 1e3, 1.05
_STEP = math.log(_GROWTH)
_BUCKETS = math.ceil(math.log(_MOST_S / _LEAST_S) / _STEP) + 1


class Histogram:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.max_s = 0.0
        self._buckets = [0] * _BUCKETS

    def add(self, duration_s: float) -> None:
        self.count += 1
        if duration_s > self.max_s:
            self.max_s = duration_s
        if duration_s > _LEAST_S:
            number = math.ceil(math.log(duration_s / _LEAST_S) / _STEP)
            self._buckets[min(number, _BUCKETS - 1)] += 1
        else:
            self._buckets[0] += 1

    def percentile_s(self, share: float) -> float:
        """The duration that `share` (0 to 1) of all do not exceed, by the nearest-rank method; 0.0 if
        there are none."""
        rank = max(1, math.ceil(share * self.count))
        for number, held in enumerate(self._buckets):
            rank -= held
            if rank <= 0:
                return min(self.max_s, _LEAST_S * _GROWTH**number)
        return 0.0

    def quantiles(self) -> Quantiles:
        """The quantiles that reports show."""
        p50, p95, p99 = map(self.percentile_s, (0.5, 0.95, 0.99))
        return Quantiles(p50, p95, p99, self.max_s, self.count)
