"""Changes of membership, one by one, against the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from minicloud.core.model import Status
from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.execution import DeregisterWorkerRequest, HeartbeatRequest
from sim.engine.clocks import NodeClock
from sim.oracle.durability import Durability
from sim.oracle.entries import Entries
from sim.oracle.model import Judgement, Model
from sim.oracle.step import Step
from sim.oracle.truth import Truth
from sim.verdict.promises import (
    COUNTS_ADD_UP,
    IDENTITY_RETURNS,
    IDS_UNIQUE,
    NO_EARLY_VERDICT,
    REGISTRATIONS_DURABLE,
    VERDICT_ON_TIME,
)
from tests.sim.oracle.parts import Found, registration

_TRUTH = cast("Truth", SimpleNamespace(declared_unhealthy=lambda member: None, recovered=lambda member: None))
_HEALTHY, _UNHEALTHY, _OFFLINE = Status.HEALTHY, Status.UNHEALTHY, Status.OFFLINE


class Case(Found):
    """Entries over a model in which "w" was registered at 0 s; its lease ends after 15 s."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model = Model(15.0, 600.0, self.ledger)
        self.step = Step(self.model, self.ledger)
        durability = Durability(self.ledger, NodeClock(self.timeline))
        self.removing = False
        self.entries = Entries(
            self.model, self.step, self.ledger, durability, _TRUTH, 600.0, lambda: self.removing
        )
        self.model.register("w", 5, registration("w"), 0.0)

    def change(
        self, kind: str, detail: str, old: Status, new: Status, at_s: float, worker_id: str = "w"
    ) -> None:
        entry = SimpleNamespace(
            kind=kind,
            detail=detail,
            worker_id=worker_id,
            incarnation=6,
            event_id=9,
            old_status=old,
            new_status=new,
        )
        self.entries.changed(cast("MembershipEvent", entry), at_s)


@pytest.mark.parametrize(
    ("at_s", "promise"), [(15.0, None), (14.9, NO_EARLY_VERDICT), (15.1, VERDICT_ON_TIME)]
)
def test_verdict_falls_when_the_lease_ends(at_s: float, promise: object) -> None:
    case = Case()
    case.change("unhealthy", "", _HEALTHY, _UNHEALTHY, at_s)
    assert case.promises == ([] if promise is None else [str(promise)])


def test_verdict_may_wait_until_the_control_plane_is_awake() -> None:
    case = Case()
    case.entries.awake_since_s = 40.0
    case.change("unhealthy", "", _HEALTHY, _UNHEALTHY, 40.0)
    assert case.violations == []


def test_change_that_shows_another_status_than_the_model_has_is_a_violation() -> None:
    case = Case()
    case.change("unhealthy", "", _HEALTHY, _HEALTHY, 15.0)
    assert case.promises == [str(COUNTS_ADD_UP)]


def test_recovery_needs_a_heartbeat_that_was_accepted() -> None:
    for accepted in (True, False):
        case = Case()
        case.change("unhealthy", "", _HEALTHY, _UNHEALTHY, 15.0)
        if accepted:
            case.step.message = HeartbeatRequest()
            case.step.recovering = case.model.members["w"]
        case.change("recovered", "", _UNHEALTHY, _HEALTHY, 16.0)
        assert case.promises == ([] if accepted else [str(VERDICT_ON_TIME)])


def test_id_of_a_healthy_worker_must_not_be_given_to_another_installation() -> None:
    case = Case()
    message = registration("other")
    message.worker_id = "w"
    case.step.message = message
    case.change("registered", "takeover", _HEALTHY, _HEALTHY, 5.0)
    assert case.promises == [str(IDS_UNIQUE)]


def test_installation_that_departed_gets_its_id_back() -> None:
    for worker_id in ("w", "w-2"):
        case = Case()
        case.model.depart(case.model.members["w"], False, 5.0, 1)
        case.step.message = registration("w")
        case.change("registered", "returned", _OFFLINE, _HEALTHY, 6.0, worker_id)
        assert case.promises == ([] if worker_id == "w" else [str(IDENTITY_RETURNS)])


@pytest.mark.parametrize("asked", [True, False])
def test_worker_leaves_if_it_asked_to(asked: bool) -> None:
    case = Case()
    if asked:
        case.step.message = DeregisterWorkerRequest(worker_id="w")
        case.step.judgement = Judgement.ACCEPTED
    case.change("departed", "left", _HEALTHY, _OFFLINE, 5.0)
    assert case.promises == ([] if asked else [str(REGISTRATIONS_DURABLE)])


@pytest.mark.parametrize("removing", [True, False])
def test_worker_is_removed_if_an_operator_does_it(removing: bool) -> None:
    case = Case()
    case.removing = removing
    case.change("departed", "removed", _HEALTHY, _OFFLINE, 5.0)
    assert case.promises == ([] if removing else [str(REGISTRATIONS_DURABLE)])


@pytest.mark.parametrize(("at_s", "holds"), [(615.0, True), (614.0, False)])
def test_worker_is_forgotten_after_the_retention(at_s: float, holds: bool) -> None:
    case = Case()
    case.change("unhealthy", "", _HEALTHY, _UNHEALTHY, 15.0)
    case.change("departed", "forgotten", _UNHEALTHY, _OFFLINE, at_s)
    assert case.promises == ([] if holds else [str(REGISTRATIONS_DURABLE)])
