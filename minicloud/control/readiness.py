"""Whether the control plane may be sent requests: starting, ready, stopping, in that order and no other; and,
while ready, whether it can take changes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import trio


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Readiness:
    """The phase of this process, and why a ready one still cannot take changes. Nothing comes after
    STOPPING.

    `fault` is empty unless the store cannot write.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.fault = ""
        self.stopping = trio.Event()
        self._on_stopping: list[Callable[[], None]] = []

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Have `callback` called as stopping begins; it must neither wait nor raise."""
        self._on_stopping.append(callback)

    def mark_ready(self) -> None:
        """Everything runs. Changes nothing once stopping has begun."""
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY

    def begin_stopping(self) -> None:
        """Be not ready from now on, and set `stopping`; a second time changes nothing."""
        if self.phase is not Phase.STOPPING:
            self.phase = Phase.STOPPING
            for callback in self._on_stopping:
                callback()
            self.stopping.set()
