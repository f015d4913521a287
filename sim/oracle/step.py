"""The present step of the service, from taking a message to answering it.

Membership changes in one uninterrupted step; the oracle receives the parts of that one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.oracle.ledger import Ledger
from sim.oracle.model import Judgement, Member, Model
from sim.verdict.promises import LIVE_RECOVERED, VERDICT_ON_TIME


class Step:
    """The message that was taken last, and the changes that have to follow from it.

    The service sweeps before it handles a message. So where something is due, the message is judged only
    after the changes of the sweep: `settle_sweep` is called with the first change that is not of the sweep,
    `settle` when no change of the message can follow.
    """

    def __init__(self, model: Model, ledger: Ledger) -> None:
        self.message: Any = None
        self.now_s = 0.0
        self.judgement: Judgement | None = None
        self.recovering: Member | None = None  # an accepted heartbeat has to make it healthy
        self.unsettled = False
        self._due: list[str] = []
        self._judge: Callable[[Any, float], None] | None = None
        self._model = model
        self._ledger = ledger

    def restart(self) -> None:
        """Drop the step: a new control plane has started."""
        self.message = self.judgement = self.recovering = self._judge = None
        self._due = []
        self.unsettled = False

    def begin(self, message: Any, now_s: float, judge: Callable[[Any, float], None]) -> None:
        """Begin with `message`, which the service has taken; `judge` it now, or after the sweep."""
        if self.unsettled:
            self.settle()
        self.message = message
        self.now_s = now_s
        self.judgement = None
        if self._model.has_due(now_s):
            self._due = self._model.due(now_s)
            self._judge = judge
            self.unsettled = True
        else:
            judge(message, now_s)

    def settle_sweep(self) -> None:
        """End the sweep: report leases that it should have ended, and judge the message."""
        judge, self._judge = self._judge, None
        due, self._due = self._due, []
        for worker_id in due:
            self.overdue(worker_id, self.now_s)
        if judge is not None:
            judge(self.message, self.now_s)

    def settle(self) -> None:
        """End the step: every change of the message has been seen."""
        self.settle_sweep()
        self.unsettled = False
        member, self.recovering = self.recovering, None
        if member is not None:
            self._ledger.require(
                LIVE_RECOVERED,
                member.healthy,
                member.worker_id,
                f"{member.worker_id} sent a heartbeat that was accepted, and is still UNHEALTHY",
            )

    def overdue(self, worker_id: str, now_s: float) -> None:
        """Report, once, that `worker_id` is not UNHEALTHY although its lease has ended."""
        ends_s = self._model.overdue_since_s(worker_id, now_s)
        if ends_s is not None:
            self._ledger.violate(
                VERDICT_ON_TIME,
                worker_id,
                f"the lease of {worker_id} ended {now_s - ends_s:.6f} s ago and it still is not UNHEALTHY",
            )
