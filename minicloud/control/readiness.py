"""This module has the phase of the control plane (starting, ready, stopping, in this order), and the fault
for which a ready one takes no changes."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import trio


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Readiness:
    """This is the phase of this process. STOPPING is the last one.

    `fault` is empty unless the store cannot write.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.fault = ""
        self.stopping = trio.Event()
        self._on_stopping: list[Callable[[], None]] = []

    def on_stopping(self, callback: Callable[[], None]) -> None:
        """Call `callback` when stopping begins; it must neither wait nor raise."""
        self._on_stopping.append(callback)

    def mark_ready(self) -> None:
        """Become ready. This changes nothing once stopping has begun."""
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY

    def begin_stopping(self) -> None:
        """Stop being ready, and set `stopping`. A second call changes nothing."""
        if self.phase is not Phase.STOPPING:
            self.phase = Phase.STOPPING
            for callback in self._on_stopping:
                callback()
            self.stopping.set()
