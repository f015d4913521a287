"""The coverage goals: which of them faults and calls reach, and which a run has missed."""

from __future__ import annotations

import pytest

from sim.cluster.topology import CONTROL_PLANE
from sim.faults.kinds import KINDS
from sim.faults.schedule import Fault
from sim.oracle.coverage import Coverage
from sim.oracle.model import Judgement
from sim.verdict.goals import GOALS, MESSAGES_ALONE, missed_goals


def _reached(coverage: Coverage) -> dict[str, int]:
    return {name: count for name, count in coverage.hits.items() if count}


@pytest.mark.parametrize(
    ("kind", "node", "begun", "ended"),
    [
        ("clock-step", "worker-1", {"clock-stepped": 1}, {}),
        ("clock-drift", CONTROL_PLANE, {"clock-drifted": 1}, {}),
        ("wipe", CONTROL_PLANE, {"disk-wiped": 1}, {}),
        ("wipe", "worker-1", {}, {}),
        ("pause", CONTROL_PLANE, {"control-plane-paused": 1}, {}),
        ("pause", "worker-1", {}, {}),
        ("stale-disk", CONTROL_PLANE, {}, {"disk-restored": 1}),
        ("crash", CONTROL_PLANE, {}, {}),
    ],
)
def test_fault_reaches_the_goal_of_its_kind(
    kind: str, node: str, begun: dict[str, int], ended: dict[str, int]
) -> None:
    coverage = Coverage()
    fault = Fault(kind, 0.0, (node,), 1.0)
    coverage.fault_began(fault)
    assert _reached(coverage) == begun
    coverage.fault_ended(fault)
    assert _reached(coverage) == begun | ended


def test_every_goal_of_a_kind_of_fault_is_a_goal() -> None:
    assert {kind.goal.name for kind in KINDS.values() if kind.goal is not None} <= set(GOALS)
    assert set(GOALS) >= MESSAGES_ALONE


@pytest.mark.parametrize(
    ("error", "goal"),
    [
        ("DEADLINE_EXCEEDED: late", "deadline-exceeded"),
        ("UNAVAILABLE: connection reset", "connection-reset"),
        ("UNAVAILABLE: refused", "refused-connection"),
    ],
)
def test_call_that_failed_reaches_the_goal_of_its_error(error: str, goal: str) -> None:
    coverage = Coverage()
    coverage.call_failed(error)
    assert _reached(coverage) == {goal: 1}


@pytest.mark.parametrize(("kept", "goal"), [(0, "lost-write"), (1, "torn-write"), (2, None)])
def test_loss_of_power_reaches_the_goal_of_what_was_lost(kept: int, goal: str | None) -> None:
    coverage = Coverage()
    coverage.lost_power(2, kept)
    assert _reached(coverage) == ({goal: 1} if goal else {})


def test_heartbeats_are_counted_by_judgement() -> None:
    coverage = Coverage()
    coverage.counted({judgement: int(judgement) for judgement in Judgement})
    assert coverage.hits["heartbeats"] == Judgement.ACCEPTED
    assert coverage.hits["stale-heartbeat"] == Judgement.STALE + Judgement.DUPLICATE
    assert coverage.hits["fenced"] == Judgement.FENCED


def test_goal_that_was_not_reached_is_missed_unless_it_cannot_be_reached_at_that_depth() -> None:
    hits = dict.fromkeys(GOALS, 0) | {"registered": 1}
    wanted = ("registered", "expired", "duplicate-delivered")
    assert missed_goals(hits, wanted, "messages") == ("expired", "duplicate-delivered")
    assert missed_goals(hits, wanted, "wire") == ("expired",)
