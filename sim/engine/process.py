"""A simulated process: its events happen while it runs, wait while it is paused, and never happen once it has
been killed.

A crash is not a cancellation: cancelled tasks run their `finally` blocks, which is an orderly end. So a
process that is killed is cut off from everything first, and cancelled then: nothing that it sends meanwhile
arrives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from sim.engine.timeline import Call, Parked, Timeline


class Process:
    """One run of one program. `name` is that of its node; `run` it once.

    `running` is true unless it has ended or is paused. It can be the `host` of an event, which then happens
    only while it runs.
    """

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.name = name
        self.alive = True  # until it ends or is killed
        self.running = True
        self._stops = 0  # pauses that have not been resumed
        self.failure: Exception | None = None  # what ended it, where it was not killed
        self.timeline = timeline
        # What its machine does when it is gone, in order; take out what is no longer to be done.
        self.at_end: dict[Callable[[], None], None] = {}
        self._scope = trio.CancelScope()
        self._backlog: list[tuple[Call, tuple[Any, ...]]] = []

    async def run(self, main: Callable[[], Awaitable[object]]) -> None:
        """Run the program to its end, by itself or by a kill."""
        with self._scope:
            try:
                await main()
            except Exception as error:
                self.failure = error
        self._end()

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        self._end()
        self._scope.cancel()

    @property
    def paused(self) -> bool:
        return self._stops > 0

    def pause(self) -> None:
        """Stop it, as SIGSTOP does: its timers, and messages to it, wait."""
        self._stops += 1
        self.running = False

    def resume(self) -> None:
        """Take one pause back. After the last one, everything that was put off happens, in order."""
        self._stops -= 1
        if self.paused:
            return
        self.running = self.alive
        backlog, self._backlog = self._backlog, []
        for call, args in backlog:
            self.timeline.at(self.timeline.now_s, call, *args, host=self)

    def carry_out(self, call: Call, *args: Any) -> None:
        """Call `call(*args)` now, or when the process is resumed."""
        if self.running:
            call(*args)
        else:
            self.put_off(call, args)

    def put_off(self, call: Call, args: tuple[Any, ...]) -> None:
        """Keep a call that is due while the process does not run until it is resumed."""
        if self.alive:
            self._backlog.append((call, args))

    def _end(self) -> None:
        self.alive = self.running = False
        at_end, self.at_end = self.at_end, {}
        for call in at_end:
            call()

    async def sleep_until(self, when_s: float) -> None:
        """Sleep to the true time `when_s`."""
        parked = Parked()
        self.timeline.at(when_s, parked.wake, host=self)
        await parked
