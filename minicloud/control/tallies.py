"""This module has counters and histograms for the path of every heartbeat, read by prometheus_client as
collectors.

They are counted in one thread, the loop's, and take no lock. The library's own take a lock for each figure: 1
us a counter, 3.5 us a counter with a histogram, where these take 0.1 and 0.5.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]

# Combinations beyond this are made up by a client, and are counted as "other" so that they cost no memory.
MOST_CALL_SERIES = 512


class Tally(Collector):
    """A tally is a counter whose combinations of labels are all known, and shown from the start at 0.

    Count with `tally.counts[labels] += 1`. A combination that is not known is a `KeyError`, a bug of ours.
    """

    def __init__(self, name: str, help_text: str, label_names: Labels, known: Iterable[Labels]) -> None:
        self._name = name
        self._help_text = help_text
        self._label_names = label_names
        self.counts: dict[Labels, int] = dict.fromkeys(known, 0)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._help_text, labels=self._label_names)
        for labels, count in self.counts.items():
            family.add_metric(labels, count)
        yield family


class Shown(Collector):
    """This collector shows a counter that is kept elsewhere: `count` is called at every scrape."""

    def __init__(self, name: str, help_text: str) -> None:
        self._name = name
        self._help_text = help_text
        self.count: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._help_text, value=self.count())


class _Call:
    """This holds the calls of one combination of labels: the number in each bucket, and the sum of their
    durations."""

    __slots__ = ("by_bucket", "sum_s")

    def __init__(self, buckets: int) -> None:
        self.by_bucket = [0] * buckets
        self.sum_s = 0.0


class Calls(Collector):
    """This collector has the requests of one kind by labels: a counter `<name>_requests_total` and a
    histogram `<name>_request_duration_seconds` with the given upper bounds, to which +Inf is added."""

    def __init__(self, name: str, kind: str, label_names: Labels, bounds_s: tuple[float, ...]) -> None:
        self._name = name
        self._kind = kind
        self._label_names = label_names
        self._bounds_s = bounds_s
        self._calls: dict[Labels, _Call] = {}

    def count(self, labels: Labels, seconds: float) -> None:
        call = self._calls.get(labels)
        if call is None:
            call = self._new(labels)
        call.by_bucket[bisect_left(self._bounds_s, seconds)] += 1
        call.sum_s += seconds

    def _new(self, labels: Labels) -> _Call:
        if len(self._calls) >= MOST_CALL_SERIES:
            labels = ("other",) * len(self._label_names)
        return self._calls.setdefault(labels, _Call(len(self._bounds_s) + 1))

    def collect(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            f"{self._name}_requests", f"{self._kind} requests answered.", labels=self._label_names
        )
        duration = HistogramMetricFamily(
            f"{self._name}_request_duration_seconds",
            f"Time until the answer to {self._kind} requests began.",
            labels=self._label_names,
        )
        bounds = [*(str(bound) for bound in self._bounds_s), "+Inf"]
        for labels, call in self._calls.items():
            cumulated: list[tuple[str, float]] = []
            count = 0
            for bound, in_bucket in zip(bounds, call.by_bucket, strict=True):
                count += in_bucket
                cumulated.append((bound, count))
            total.add_metric(labels, count)
            duration.add_metric(labels, cumulated, call.sum_s)
        yield total
        yield duration
