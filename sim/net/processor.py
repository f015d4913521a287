"""The one processor of a simulated server: calls take their turn, so that a crowd of them takes time."""

from __future__ import annotations

from collections.abc import Callable

from sim.engine.timeline import Timeline


class Processor:
    """Works on one call at a time; each takes `service_time_s()`."""

    def __init__(self, timeline: Timeline, service_time_s: Callable[[], float]) -> None:
        self._timeline = timeline
        self._service_time_s = service_time_s
        self._busy_until_s = 0.0

    def take(self) -> float:
        """Take in one call more; return the true time at which its work is done."""
        now_s = self._timeline.now_s
        begins_s = self._busy_until_s if self._busy_until_s > now_s else now_s
        self._busy_until_s = begins_s + self._service_time_s()
        return self._busy_until_s
