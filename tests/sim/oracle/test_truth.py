"""The truth: which machines can be heard, and how soon the control plane knew."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sim.cluster.cluster import Cluster
from sim.engine.randomness import Streams
from sim.oracle.model import Model
from sim.oracle.truth import Truth
from tests.sim.oracle.parts import TOPOLOGY, Found, agent_state, registration, run_program

_ID = "worker-1"


class Case(Found):
    """A truth of a cluster in which a program runs on worker-1, which was registered and heard at 0 s."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cluster = Cluster(TOPOLOGY, self.timeline, Streams(1), [])
        self.model = Model(15.0, 600.0, self.ledger)
        self.truth = Truth(self.cluster, self.model)
        self.machine = self.truth.machines[_ID]
        run_program(self.machine, agent_state(_ID, 1))
        self.truth.started(_ID)
        self.member = self.model.register(_ID, 1, registration(_ID), 0.0)
        self.member.instance_id = self.machine.node.instance_id

    def look_at(self, at_s: float) -> None:
        self.timeline.now_s = at_s
        self.truth.look((_ID,))


def test_machine_is_heard_and_reachable_while_its_program_runs_and_its_link_is_whole() -> None:
    case = Case()
    case.look_at(10.0)
    assert case.machine.silent_since_s is None
    assert case.truth.reachable_for_s(case.machine) == 10.0


@pytest.mark.parametrize("trouble", ["cut", "held"])
def test_machine_whose_messages_do_not_arrive_is_silent(trouble: str) -> None:
    case = Case()
    setattr(case.machine.link.to_server, trouble, 1)
    case.look_at(10.0)
    case.look_at(20.0)
    assert case.machine.silent_since_s == 10.0
    assert case.truth.reachable_for_s(case.machine) == 0.0


@pytest.mark.parametrize("trouble", ["cut", "held"])
def test_machine_that_no_message_reaches_is_heard_and_not_reachable(trouble: str) -> None:
    case = Case()
    setattr(case.machine.link.to_client, trouble, 1)
    case.look_at(10.0)
    assert case.machine.silent_since_s is None
    assert case.truth.reachable_for_s(case.machine) == 0.0


@pytest.mark.parametrize(("attribute", "value"), [("paused", True), ("alive", False)])
def test_machine_whose_program_stands_still_or_has_ended_is_silent(attribute: str, value: bool) -> None:
    case = Case()
    setattr(cast("Any", case.machine.node.run).process, attribute, value)
    case.look_at(10.0)
    assert case.machine.silent_since_s == 10.0


def test_verdict_on_a_silent_machine_is_measured_from_the_beginning_of_its_silence() -> None:
    case = Case()
    case.machine.link.to_server.cut = 1
    case.look_at(10.0)
    case.timeline.now_s = 27.0
    case.truth.declared_unhealthy(case.member)
    assert case.truth.detection_s == [17.0]
    assert case.truth.false_positives == 0


@pytest.mark.parametrize(("at_s", "false_positives"), [(14.0, 0), (15.0, 1)])
def test_verdict_on_a_machine_that_was_reachable_for_the_timeout_is_a_false_positive(
    at_s: float, false_positives: int
) -> None:
    case = Case()
    case.timeline.now_s = at_s
    case.truth.declared_unhealthy(case.member)
    assert (case.truth.false_positives, case.truth.detection_s) == (false_positives, [])


def test_recovery_is_measured_from_the_moment_in_which_the_machine_could_be_reached_again() -> None:
    case = Case()
    case.machine.link.to_server.cut = 1
    case.look_at(10.0)
    case.model.expire(case.member)
    case.machine.link.to_server.cut = 0
    case.look_at(30.0)
    case.timeline.now_s = 34.0
    case.truth.recovered(case.member)
    case.truth.recovered(case.member)  # measured once
    assert case.truth.recovery_s == [4.0]


def test_running_machines_are_those_with_a_program() -> None:
    assert [machine.node.name for machine, _, _ in Case().truth.running()] == [_ID]
