"""The worker ids that a fleet holds by the control plane's answers, and the answers that break a promise.

It uses only what can be seen from outside: answers, and the times of acknowledgements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sim.real.figures import Figures
from sim.verdict.outcome import Violation


class Holder(Protocol):
    """One run of a worker's program."""

    @property
    def name(self) -> str: ...

    def surely_holds(self, worker_id: str) -> bool:
        """True if it is a member under this id for certain.

        That is so if its last acknowledgement is younger than one interval and no fault is on it: the
        shortest timeout that a control plane may have is two intervals.
        """
        ...


@dataclass(frozen=True, slots=True)
class Holding:
    """An id that was given and not taken back since."""

    holder: Holder
    incarnation: int


class Ledger:
    """The ids of one fleet. `elapsed_s` are the seconds since its start."""

    def __init__(self, figures: Figures, elapsed_s: Callable[[], float]) -> None:
        self.held: dict[str, Holding] = {}
        self._incarnations: dict[str, int] = {}  # the highest of each id
        self._figures = figures
        self._elapsed_s = elapsed_s

    def given(self, holder: Holder, worker_id: str, incarnation: int) -> None:
        """Note that a registration was granted."""
        before = self.held.get(worker_id)
        if before is not None and before.holder is not holder and before.holder.surely_holds(worker_id):
            text = f"given {worker_id} while {before.holder.name}, alive and acknowledged, holds that id"
            self.broken("no two live workers share an id", holder, text)
        highest = self._incarnations.get(worker_id, 0)
        if incarnation and incarnation <= highest:
            text = (
                f"registered as {worker_id} with incarnation {incarnation} after {highest}: messages of an "
                "older one may pass (a control plane started again without its registry does this)"
            )
            self.broken("incarnations rise", holder, text)
        self._incarnations[worker_id] = max(highest, incarnation)
        self.held[worker_id] = Holding(holder, incarnation)

    def taken_back(self, worker_id: str) -> None:
        """Forget the holder: the worker has left, or was struck off."""
        self.held.pop(worker_id, None)

    def denied(self, holder: Holder, text: str) -> None:
        """Report that the control plane does not know a worker on which no fault was."""
        self.broken("a registration that was acknowledged is there", holder, text)

    def broken(self, promise: str, holder: Holder, text: str) -> None:
        self._figures.violated(Violation(promise, round(self._elapsed_s(), 3), holder.name, text))
