"""Time as something passed in.

Nothing in MiniCloud asks the machine for the time: shells hold a `Clock`, the core is handed `now_s`.
Leases and waits live on monotonic seconds, so a wall clock that is set back or forward changes none of
them; wall time is shown, kept, and read once at a control plane's start for the floor of its incarnations.
"""

from __future__ import annotations

import time
from typing import Protocol

import trio


class Clock(Protocol):
    """Two readings and a sleep. One clock is one node's idea of time."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def wall_s(self) -> float:
        """Unix seconds; may jump either way."""

    async def sleep_until(self, deadline_s: float) -> None:
        """Return once `monotonic_s()` has reached `deadline_s`; at once if it has already."""


class SystemClock:
    """The running Trio loop's clock (virtual under `trio.testing.MockClock`) and the machine's wall clock."""

    def monotonic_s(self) -> float:
        return trio.current_time()

    def wall_s(self) -> float:
        return time.time()

    async def sleep_until(self, deadline_s: float) -> None:
        await trio.sleep_until(deadline_s)


class WallAnchor:
    """Shows monotonic instants as Unix milliseconds, the same figure each time it is asked.

    Adding a fresh `wall - monotonic` to every instant would make a past heartbeat's time flicker by a
    millisecond between two readings. The offset is therefore kept, and taken anew only when the wall clock
    has moved against it by more than `tolerance_s`.
    """

    def __init__(self, clock: Clock, tolerance_s: float = 0.5) -> None:
        self._clock = clock
        self._tolerance_s = tolerance_s
        self._offset_s = clock.wall_s() - clock.monotonic_s()

    def unix_ms(self, at_s: float) -> int:
        """The Unix time, in milliseconds, of the monotonic instant `at_s`."""
        return round((at_s + self._current_offset_s()) * 1000)

    def monotonic_s(self, unix_ms: int) -> float:
        """The monotonic instant of a Unix time in milliseconds; may be negative."""
        return unix_ms / 1000 - self._current_offset_s()

    def _current_offset_s(self) -> float:
        offset_s = self._clock.wall_s() - self._clock.monotonic_s()
        if abs(offset_s - self._offset_s) > self._tolerance_s:
            self._offset_s = offset_s
        return self._offset_s
