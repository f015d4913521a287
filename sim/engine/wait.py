"""An awaitable for coroutines that events run, and no Trio task."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sim.engine.process import Process
from sim.engine.timeline import Call


class Wait:
    """An awaitable for coroutines that run outside tasks: the runner receives this object, and continues
    by `then`."""

    def __init__(self) -> None:
        self._then: list[tuple[Process, Call, tuple[Any, ...]]] = []

    def __await__(self) -> Generator[Wait, None, None]:
        yield self

    def then(self, process: Process, call: Call, *args: Any) -> None:
        """Have `call(*args)` happen in `process` when the wait is over."""
        self._then.append((process, call, args))

    def over(self) -> None:
        """End the wait, and make every planned call."""
        then, self._then = self._then, []
        for process, call, args in then:
            process.timeline.at(process.timeline.now_s, call, *args, host=process)
