"""What the service is in the middle of: between taking a message and answering it, membership changes in one
uninterrupted step, and what the oracle sees of that comes in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.oracle.ledger import Ledger
from sim.oracle.model import Judgement, Member, Model
from sim.verdict.promises import LIVE_RECOVERED, VERDICT_ON_TIME


class Step:
    """The message taken last, and what has to come of it.

    Whatever is due is swept before the message is looked at. So where something is, the message is judged
    only after what came of the sweep has been seen: `settle_sweep` is called with the first thing that is
    not of the sweep, `settle` when nothing more can come of the message.
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
        """A control plane has started: what its predecessor was in the middle of is void."""
        self.message = self.judgement = self.recovering = self._judge = None
        self._due = []
        self.unsettled = False

    def begin(self, message: Any, now_s: float, judge: Callable[[Any, float], None]) -> None:
        """The service has taken `message`; `judge` it as soon as its time has come."""
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
        """All that the sweep before the message had to do has been seen."""
        judge, self._judge = self._judge, None
        due, self._due = self._due, []
        for worker_id in due:
            self.overdue(worker_id, self.now_s)
        if judge is not None:
            judge(self.message, self.now_s)

    def settle(self) -> None:
        """All that came of the message has been seen."""
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
        """Whether `worker_id`, whose lease has ended, has been declared UNHEALTHY. Told of once."""
        ends_s = self._model.overdue_since_s(worker_id, now_s)
        if ends_s is not None:
            self._ledger.violate(
                VERDICT_ON_TIME,
                worker_id,
                f"the lease of {worker_id} ended {now_s - ends_s:.6f} s ago and it still is not UNHEALTHY",
            )
