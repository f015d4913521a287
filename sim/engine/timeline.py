"""The true time of a simulation, and the events that are to happen in it.

Trio asks its clock how long to sleep exactly when no task can run. At that moment this clock takes the next
event, moves time to it and carries it out. Nothing ever waits for real.

Future events are kept by second, unsorted; only the events of the present second are a heap. Thousands of
heartbeats and timeouts wait there at no cost, and the heap stays small.

Always holds: time never goes back; events of one instant happen in the order in which they were planned
(tests/sim/test_engine.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT
from trio._core._traps import WaitTaskRescheduled

Call = Callable[..., object]


class Host(Protocol):
    """The process in which an event happens."""

    @property
    def running(self) -> bool: ...

    def put_off(self, call: Call, args: tuple[Any, ...]) -> None:
        """Keep `call(*args)`, which is due while the host does not run."""
        ...


_Event = tuple[float, int, Host | None, Call, tuple[Any, ...]]

# The sleep that Trio gets when nothing is planned any more; it asks again after that.
_NOTHING_PLANNED_S = 0.001

# Between two looks at what else Trio has to do, as it wakes itself by a socket of its own when it ends.
_EVENTS_AT_A_TIME = 64


class Timeline(trio.abc.Clock):
    """Counts seconds since the simulation began. Pass it to `trio.run` as the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.events = 0  # carried out
        self._number = 0  # of the event planned last
        self._second = 0
        self._present: list[_Event] = []  # of that second: a heap
        self._ahead: dict[int, dict[int, _Event]] = {}  # of later ones: by second, by number
        self._seconds: list[int] = []  # those of `_ahead`: a heap

    def at(self, when_s: float, call: Call, *args: Any, host: Host | None = None) -> int:
        """Plan `call(*args)` for `when_s`, or as the next event where that has passed; return the event's
        number. Where a `host` is given and does not run then, it puts the call off."""
        self._number = number = self._number + 1
        if when_s < self.now_s:
            when_s = self.now_s
        second = int(when_s)
        if second <= self._second:
            heappush(self._present, (when_s, number, host, call, args))
        elif second in self._ahead:
            self._ahead[second][number] = (when_s, number, host, call, args)
        else:
            self._ahead[second] = {number: (when_s, number, host, call, args)}
            heappush(self._seconds, second)
        return number

    def drop(self, when_s: float, number: int) -> None:
        """Cancel the event of that number, planned for `when_s`. An event whose second has begun may
        happen all the same."""
        events = self._ahead.get(int(when_s))
        if events is not None:
            events.pop(number, None)

    @property
    def planned(self) -> int:
        """The number of events that lie ahead."""
        return len(self._present) + sum(len(events) for events in self._ahead.values())

    def clear(self) -> None:
        """Cancel every event: the run is over."""
        self._present.clear()
        self._ahead.clear()
        self._seconds.clear()

    def start_clock(self) -> None: ...

    def current_time(self) -> float:
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        present = self._present
        runnable = GLOBAL_RUN_CONTEXT.runner.runq
        for _ in range(_EVENTS_AT_A_TIME):
            if not present:
                if not self._seconds:
                    break
                self._begin_second()
                continue
            if present[0][0] > deadline:
                break
            self.now_s, _, host, call, args = heappop(present)
            self.events += 1
            if host is None or host.running:
                call(*args)
            else:
                host.put_off(call, args)
            if runnable:
                return 0.0
        else:
            return 0.0
        if deadline == math.inf:
            return _NOTHING_PLANNED_S
        self.now_s = max(self.now_s, deadline)
        return 0.0

    def _begin_second(self) -> None:
        second = heappop(self._seconds)
        assert second > self._second, "time never goes back"
        self._second = second
        self._present.extend(self._ahead.pop(self._second).values())
        heapify(self._present)


class Parked:
    """Awaits an event: one task waits, and is woken once at most.

    A cancelled wait leaves nothing behind.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    def __await__(self) -> Generator[Any, Any, None]:
        # As `trio.lowlevel.wait_task_rescheduled` does, with two generators less to go through on either way.
        self._task = GLOBAL_RUN_CONTEXT.task
        woken = yield WaitTaskRescheduled(self._abort)
        woken.unwrap()

    def wake(self) -> None:
        """Make the waiting task runnable, if there is one."""
        task, self._task = self._task, None
        if task is not None:
            GLOBAL_RUN_CONTEXT.runner.reschedule(task)

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
