"""The oracle's own idea of membership."""

from __future__ import annotations

import pytest

from minicloud.core.model import Admin, Status
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest
from sim.oracle.model import Judgement, Model
from tests.sim.oracle.parts import Found, registration


def _model() -> Model:
    """A model in which "w" was registered in incarnation 5 at 0 s, and sent the heartbeat 20 at 1 s."""
    model = Model(15.0, 600.0, Found().ledger)
    member = model.register("w", 5, registration("w"), 0.0)
    model.accept(member, HeartbeatRequest(worker_id="w", incarnation=5, sequence=20), 1.0)
    return model


@pytest.mark.parametrize(
    ("worker_id", "incarnation", "sequence", "judgement"),
    [
        ("w", 5, 21, Judgement.ACCEPTED),
        ("w", 5, 20, Judgement.DUPLICATE),
        ("w", 5, 19, Judgement.STALE),
        ("w", 5, 10, Judgement.STALE),
        ("w", 5, 9, Judgement.FENCED),
        ("w", 4, 21, Judgement.FENCED),
        ("w", 6, 21, Judgement.FENCED),
        ("w", 0, 0, Judgement.ACCEPTED),
        ("other", 5, 21, Judgement.UNKNOWN),
    ],
)
def test_message_is_judged_by_its_id_incarnation_and_sequence(
    worker_id: str, incarnation: int, sequence: int, judgement: Judgement
) -> None:
    assert _model().judge(worker_id, incarnation, sequence) is judgement


@pytest.mark.parametrize(("now_s", "due"), [(15.9, []), (16.0, ["w"])])
def test_lease_ends_a_timeout_after_the_last_heartbeat(now_s: float, due: list[str]) -> None:
    model = _model()
    assert model.due(now_s) == due
    assert model.has_due(now_s) is bool(due)


def test_stall_moves_what_is_to_end() -> None:
    model = _model()
    model.postpone(10.0)
    assert not model.has_due(25.9)
    assert model.due(26.0) == ["w"]


def test_drain_that_has_ended_leaves_a_cordon() -> None:
    model = _model()
    model.administer("w", Admin.DRAINING, 1)
    model.depart(model.members["w"], False, 2.0, 2)
    assert model.admin_of("w") is Admin.CORDONED
    assert list(model.held()) == ["w"]
    assert model.status_of("w") is Status.OFFLINE


def test_installation_that_departed_is_remembered_for_the_retention() -> None:
    model = _model()
    model.depart(model.members["w"], False, 2.0, 1)
    assert model.remembered("inst-w", "", 601.9) == ["w"]
    assert model.remembered("inst-w", "", 602.0) == []
    assert model.remembered("inst-w", "another", 10.0) == []
    assert model.remembered("another", "", 10.0) == []


def test_counts_are_those_of_the_members() -> None:
    model = _model()
    model.register("v", 6, registration("v"), 2.0)
    model.expire(model.members["w"])
    model.announce_leaving(model.members["v"])
    assert model.counts == {
        status: sum(member.status is status for member in model.members.values()) for status in Status
    }
