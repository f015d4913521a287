"""Time is passed in (DESIGN 7): nothing in MiniCloud asks the machine for the time except through a `Clock`.

Programs hold a `Clock`; the core gets `now_s` with each call. Leases and waits live on monotonic seconds, so
a wall clock that is set back or forward changes none of them. Wall time is shown, stored, and read once at a
control plane's start for the floor of its incarnations (DESIGN 11).
"""

from __future__ import annotations

import time
from typing import Protocol

import trio


class Clock(Protocol):
    """A `Clock` gives two readings and a sleep. Each node has one."""

    def monotonic_s(self) -> float:
        """Return the seconds since an arbitrary start; they never go back."""

    def wall_s(self) -> float:
        """Return the Unix time in seconds; it may jump either way."""

    async def sleep_until(self, deadline_s: float) -> None:
        """Return once `monotonic_s()` has reached `deadline_s`; at once if it has already."""


class SystemClock:
    """A `SystemClock` reads the running Trio loop's clock and the machine's wall clock.

    The loop's clock is virtual under `trio.testing.MockClock`.
    """

    def monotonic_s(self) -> float:
        return trio.current_time()

    def wall_s(self) -> float:
        return time.time()

    async def sleep_until(self, deadline_s: float) -> None:
        await trio.sleep_until(deadline_s)


class WallAnchor:
    """A `WallAnchor` shows monotonic instants as Unix milliseconds, the same figure each time.

    Adding a fresh `wall - monotonic` to every instant would make a past heartbeat's time flicker by a
    millisecond between two readings. The offset is therefore kept, and taken anew only when the wall clock
    has moved against it by more than `tolerance_s` (DESIGN 7).
    """

    def __init__(self, clock: Clock, tolerance_s: float = 0.5) -> None:
        self._clock = clock
        self._tolerance_s = tolerance_s
        self._offset_s = clock.wall_s() - clock.monotonic_s()

    def unix_ms(self, at_s: float) -> int:
        """Return the Unix time, in milliseconds, of the monotonic instant `at_s`."""
        return round((at_s + self._current_offset_s()) * 1000)

    def monotonic_s(self, unix_ms: int) -> float:
        """Return the monotonic instant of a Unix time in milliseconds; it may be negative."""
        return unix_ms / 1000 - self._current_offset_s()

    def _current_offset_s(self) -> float:
        offset_s = self._clock.wall_s() - self._clock.monotonic_s()
        if abs(offset_s - self._offset_s) > self._tolerance_s:
            self._offset_s = offset_s
        return self._offset_s
