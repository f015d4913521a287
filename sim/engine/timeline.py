"""The one true time of a simulation, and all that is to happen in it.

Trio asks its clock how long to sleep exactly when no task can run; that is the moment at which this clock
takes the next event, moves time to it and carries it out. Nothing ever waits for real.

Always holds: time never goes back; events of one instant happen in the order in which they were planned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

Call = Callable[..., object]
Timeout = tuple[int, int]  # the second it is in, and its number

_Event = tuple[float, int, Call, tuple[Any, ...]]

# What Trio is told to sleep when nothing at all is planned any more; it asks again after that.
_NOTHING_PLANNED_S = 0.001

# Between two looks at what else Trio has to do, as it wakes itself by a socket of its own when it ends.
_EVENTS_AT_A_TIME = 64


class Timeline(trio.abc.Clock):
    """Seconds since the simulation began. Pass it to `trio.run` as the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0  # carried out
        self._planned: list[_Event] = []
        self._sequence = 0
        self._timeouts: dict[int, dict[int, _Event]] = {}  # by the second they are in, by sequence

    def at(self, when_s: float, call: Call, *args: Any) -> None:
        """Have `call(*args)` carried out at `when_s`, or as the next thing where that has passed."""
        self._sequence += 1
        heappush(self._planned, (when_s if when_s > self.now_s else self.now_s, self._sequence, call, args))

    def timeout(self, when_s: float, call: Call, *args: Any) -> Timeout:
        """As `at`, for what is nearly always dropped before its time: that costs no place in the queue."""
        second = int(when_s)
        self._sequence += 2
        sequence = self._sequence
        event = (when_s, sequence, call, args)
        if second <= self.now_s:
            heappush(self._planned, event)
        elif second in self._timeouts:
            self._timeouts[second][sequence] = event
        else:
            self._timeouts[second] = {sequence: event}
            # With a number below all of theirs, so that they keep their order among the rest.
            heappush(self._planned, (float(second), sequence - 1, self._begin_second, (second,)))
        return second, sequence

    def drop(self, timeout: Timeout) -> None:
        """Let `timeout` not happen. One whose second has begun may happen all the same."""
        second, sequence = timeout
        timeouts = self._timeouts.get(second)
        if timeouts is not None:
            timeouts.pop(sequence, None)

    def _begin_second(self, second: int) -> None:
        for event in self._timeouts.pop(second).values():
            heappush(self._planned, event)

    @property
    def planned(self) -> int:
        """How many events lie ahead."""
        return len(self._planned) + sum(len(timeouts) for timeouts in self._timeouts.values())

    def clear(self) -> None:
        """Let nothing that is planned happen any more: the run is over."""
        self._planned.clear()
        self._timeouts.clear()

    def start_clock(self) -> None: ...

    def current_time(self) -> float:
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        planned = self._planned
        runnable = GLOBAL_RUN_CONTEXT.runner.runq
        for _ in range(_EVENTS_AT_A_TIME):
            if not planned or planned[0][0] > deadline:
                break
            self.now_s, _, call, args = heappop(planned)
            self.events += 1
            call(*args)
            if runnable:
                return 0.0
        else:
            return 0.0
        if deadline == math.inf:
            return _NOTHING_PLANNED_S
        self.now_s = max(self.now_s, deadline)
        return 0.0


class Parked:
    """One task waiting to be woken by an event. Made where it waits, woken once at most."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Return once woken. Cancelled, it is as if it had never waited."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Make the task that waits, if one does, runnable."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
