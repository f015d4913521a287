"""The progress of runs: one line that is redrawn on a terminal, or a line of a log at intervals.

It reads the real time, which nothing inside a run may do.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter  # the real one: inside a run, asking `time` for it is an error
from typing import TextIO

from sim.faults.schedule import Schedule
from sim.report.figures import clock, nodes, of, times
from sim.report.status_line import StatusLine

_REDRAWN_S = 0.1
_TENTHS = 10


class Progress:
    """Shows on `stream` runs one after the other, or several at once.

    A terminal is redrawn ten times a second; any other stream gets a line at each tenth of the way.
    """

    def __init__(self, stream: TextIO, real_s: Callable[[], float] = perf_counter) -> None:
        self._stream = stream
        self._line = StatusLine(stream)
        self._real_s = real_s
        self._began_s = real_s()
        self._drawn_s = -1.0
        self._tenths = 0
        self._schedule: Schedule | None = None

    def at(self, schedule: Schedule, now_s: float) -> None:
        """Show that the present run has reached `now_s`."""
        if schedule is not self._schedule:
            self._schedule, self._began_s, self._tenths = schedule, self._real_s(), 0
        end_s = schedule.phases.end_s
        share = min(1.0, now_s / end_s) if end_s else 1.0
        if not self._due(share):
            return
        elapsed_s = self._real_s() - self._began_s
        speed = f"  {times(now_s / elapsed_s)}" if elapsed_s > 0.5 else ""
        self._show(
            share, f"{schedule.name}  {clock(now_s)} of {clock(end_s)}{speed}  {_happening(schedule, now_s)}"
        )

    def over(self, done: int, total: int, broken: int = 0) -> None:
        """Show that `done` of several runs are over, and that a promise broke in `broken` of them."""
        share = done / total
        if self._due(share):
            self._show(share, f"{done} of {of(total, 'run')}{f'  {broken} broken' if broken else ''}")

    def close(self) -> None:
        """Remove the line from a terminal."""
        self._line.wipe()

    def _due(self, share: float) -> bool:
        if not self._line.possible:
            return int(share * _TENTHS) > self._tenths
        real_s = self._real_s()
        if self._drawn_s >= 0 and real_s - self._drawn_s < _REDRAWN_S:
            return False
        self._drawn_s = real_s
        return True

    def _show(self, share: float, text: str) -> None:
        text = f"{share:4.0%}  {text.rstrip()}"
        if self._line.possible:
            self._line.draw(f"{self._line.bar(share)} {text}")
            return
        self._tenths = int(share * _TENTHS)
        self._stream.write(f"{text}\n")
        self._stream.flush()


def _happening(schedule: Schedule, now_s: float) -> str:
    """The phase, or the faults, at this moment."""
    faults = [fault for fault in schedule.faults if fault.at_s <= now_s < fault.end_s]
    if faults:
        first = f"{faults[-1].kind} of {nodes(faults[-1].nodes)}"
        return first if len(faults) == 1 else f"{first} and {of(len(faults) - 1, 'other fault')}"
    if now_s < schedule.phases.setup_s:
        return "setting up"
    return "quiet" if now_s < schedule.phases.heal_s else "healed"
