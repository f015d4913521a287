"""The calls of the service: the model judges every message, and every answer is compared with that
judgement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatRequest,
    ListWorkersRequest,
    RegisterWorkerRequest,
)
from sim.oracle.durability import Durability
from sim.oracle.ledger import Ledger
from sim.oracle.model import Judgement, Model
from sim.oracle.step import Step
from sim.verdict.promises import OLD_INCARNATIONS_FENCED, VIEW_IS_TRUTH

_REFUSED = (Judgement.FENCED, Judgement.UNKNOWN)


class Calls:
    """Judges messages and compares answers.

    `judges` has the function that judges each type of message. `heartbeats` counts those of this control
    plane since its start by judgement, `totals` those of the run.
    """

    def __init__(self, model: Model, step: Step, ledger: Ledger, durability: Durability) -> None:
        self.heartbeats = dict.fromkeys(Judgement, 0)
        self._before = dict.fromkeys(Judgement, 0)
        self._model = model
        self._step = step
        self._ledger = ledger
        self._durability = durability
        # Verdicts on messages that are not answered in the step that takes them, by the message's identity.
        self._waiting: dict[int, Judgement] = {}
        self.judges: dict[type[Any], Callable[[Any, float], None]] = {
            HeartbeatRequest: self._judge_heartbeat,
            RegisterWorkerRequest: self._judge_registration,
            DeregisterWorkerRequest: self._judge_leave,
            ListWorkersRequest: _judge_nothing,
        }

    def restart(self) -> None:
        """Start over for a new control plane: no call is under way."""
        self._waiting.clear()
        self._before = self.totals
        self.heartbeats = dict.fromkeys(Judgement, 0)

    @property
    def totals(self) -> dict[Judgement, int]:
        return {judgement: self._before[judgement] + count for judgement, count in self.heartbeats.items()}

    def answered(self, message: Any, answer: Any) -> None:
        """Compare the answer to `message` with the judgement on it."""
        step = self._step
        if step.unsettled:
            step.settle()
        judgement = self._waiting.pop(id(message), None) if self._waiting else None
        if judgement is None and step.message is message:
            judgement = step.judgement
        kind = type(message)
        if kind is HeartbeatRequest:
            if judgement is not None:
                self._ledger.checks[OLD_INCARNATIONS_FENCED] += 1
                if answer.acknowledged is (judgement in _REFUSED):
                    self._wrong_answer(message, judgement, answer.acknowledged)
        elif kind is RegisterWorkerRequest:
            if answer.registered:
                worker_id = answer.assigned_worker_id
                member = self._model.members.get(worker_id)
                self._ledger.note(worker_id, "is told it is registered, incarnation", answer.incarnation)
                if member is not None and member.incarnation >= answer.incarnation:
                    self._durability.acknowledged(worker_id, answer.incarnation)
        elif kind is DeregisterWorkerRequest and judgement is not None:
            self._ledger.checks[OLD_INCARNATIONS_FENCED] += 1
            if answer.deregistered is (judgement in _REFUSED):
                self._wrong_answer(message, judgement, answer.deregistered)
            elif answer.deregistered and message.worker_id not in self._model.members:
                self._durability.left(message.worker_id)

    def _judge_heartbeat(self, message: Any, now_s: float) -> None:
        model, step = self._model, self._step
        worker_id = message.worker_id
        judgement = step.judgement = model.judge(worker_id, message.incarnation, message.sequence)
        self.heartbeats[judgement] += 1
        if judgement is Judgement.UNKNOWN:
            self._ledger.note(worker_id, "heartbeat of nobody registered, sequence", message.sequence)
            return
        member = model.members[worker_id]
        member.recent.append(
            (self._ledger.timeline.now_s, _HEARTBEATS[judgement], message.incarnation, message.sequence)
        )
        if judgement is Judgement.ACCEPTED:
            model.accept(member, message, now_s)
            if not member.healthy:
                step.recovering = member
                step.unsettled = True
                self._waiting[id(message)] = judgement

    def _judge_registration(self, message: Any, now_s: float) -> None:
        self._ledger.note(message.worker_id, "asks to register from", message.endpoint)

    def _judge_leave(self, message: Any, now_s: float) -> None:
        worker_id = message.worker_id
        judgement = self._step.judgement = self._model.judge(worker_id, message.incarnation)
        self._waiting[id(message)] = judgement
        self._ledger.note(worker_id, "leaves, incarnation", message.incarnation, judgement.name)

    def _wrong_answer(self, message: Any, judgement: Judgement, granted: bool) -> None:
        """Report an answer to a heartbeat or a leave that contradicts the judgement on it."""
        treated = "taken for one of a member" if granted else "answered with an order to register"
        self._ledger.violate(
            OLD_INCARNATIONS_FENCED if judgement in _REFUSED else VIEW_IS_TRUTH,
            message.worker_id,
            f"a {type(message).__name__} for {message.worker_id}, incarnation {message.incarnation}, that "
            f"had to be {judgement.name} was {treated}",
        )


def _judge_nothing(message: Any, now_s: float) -> None: ...


_HEARTBEATS = {
    Judgement.ACCEPTED: "heartbeat accepted, incarnation and sequence",
    Judgement.STALE: "overtaken heartbeat, incarnation and sequence",
    Judgement.DUPLICATE: "doubled heartbeat, incarnation and sequence",
    Judgement.FENCED: "fenced heartbeat, incarnation and sequence",
}
