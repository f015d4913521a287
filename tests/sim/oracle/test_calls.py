"""The service's answers, against what the model makes of the messages."""

from __future__ import annotations

from typing import Any

import pytest

from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    DeregisterWorkerResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    RegisterWorkerResponse,
)
from sim.engine.clocks import NodeClock
from sim.oracle.calls import Calls
from sim.oracle.durability import Durability
from sim.oracle.model import Judgement, Model
from sim.oracle.step import Step
from sim.verdict.promises import OLD_INCARNATIONS_FENCED, REGISTRATIONS_DURABLE, VIEW_IS_TRUTH
from tests.sim.oracle.parts import Found, registration


class Case(Found):
    """The calls of a service at which "w" is registered in incarnation 5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model = Model(15.0, 600.0, self.ledger)
        self.step = Step(self.model, self.ledger)
        self.durability = Durability(self.ledger, NodeClock(self.timeline))
        self.calls = Calls(self.model, self.step, self.ledger, self.durability)
        self.model.register("w", 5, registration("w"), 0.0)

    def call(self, message: Any, answer: Any) -> None:
        self.step.begin(message, 1.0, self.calls.judges[type(message)])
        self.calls.answered(message, answer)


@pytest.mark.parametrize(
    ("worker_id", "incarnation", "acknowledged", "broken"),
    [
        ("w", 5, True, None),
        ("w", 5, False, VIEW_IS_TRUTH),
        ("w", 4, False, None),
        ("w", 4, True, OLD_INCARNATIONS_FENCED),
        ("nobody", 5, False, None),
        ("nobody", 5, True, OLD_INCARNATIONS_FENCED),
    ],
)
def test_heartbeat_is_acknowledged_if_it_is_of_a_member_in_its_incarnation(
    worker_id: str, incarnation: int, acknowledged: bool, broken: object
) -> None:
    case = Case()
    message = HeartbeatRequest(worker_id=worker_id, incarnation=incarnation, sequence=1)
    case.call(message, HeartbeatResponse(acknowledged=acknowledged))
    assert case.promises == ([] if broken is None else [str(broken)])


@pytest.mark.parametrize(
    ("incarnation", "deregistered", "broken"),
    [(5, True, None), (5, False, VIEW_IS_TRUTH), (4, False, None), (4, True, OLD_INCARNATIONS_FENCED)],
)
def test_leave_is_granted_to_a_member_in_its_incarnation(
    incarnation: int, deregistered: bool, broken: object
) -> None:
    case = Case()
    message = DeregisterWorkerRequest(worker_id="w", incarnation=incarnation)
    case.call(message, DeregisterWorkerResponse(deregistered=deregistered))
    assert case.promises == ([] if broken is None else [str(broken)])


def test_registration_that_is_answered_has_to_be_durable_from_then_on() -> None:
    case = Case()
    case.call(
        registration("w"), RegisterWorkerResponse(registered=True, assigned_worker_id="w", incarnation=5)
    )
    case.durability.started([])
    assert case.promises == [str(REGISTRATIONS_DURABLE)]


def test_registration_that_is_refused_need_not_be_durable() -> None:
    case = Case()
    case.call(registration("w"), RegisterWorkerResponse(registered=False))
    case.durability.started([])
    assert case.violations == []


def test_heartbeats_are_counted_by_judgement_for_this_control_plane_and_for_the_run() -> None:
    case = Case()
    for sequence in (1, 3, 2, 3):
        message = HeartbeatRequest(worker_id="w", incarnation=5, sequence=sequence)
        case.call(message, HeartbeatResponse(acknowledged=True))
    case.calls.restart()
    case.call(
        HeartbeatRequest(worker_id="w", incarnation=5, sequence=4), HeartbeatResponse(acknowledged=True)
    )
    assert case.calls.heartbeats[Judgement.ACCEPTED] == 1
    assert case.calls.totals == {
        Judgement.ACCEPTED: 3,
        Judgement.STALE: 1,
        Judgement.DUPLICATE: 1,
        Judgement.FENCED: 0,
        Judgement.UNKNOWN: 0,
    }
    assert case.violations == []
