"""Promise 13: how often workers may try, each for itself and all of them together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.oracle.herd import Herd
from sim.oracle.model import Model
from sim.oracle.truth import Truth
from sim.simulation.simulation import Simulation
from sim.verdict.promises import HERD_BOUNDED
from tests.sim.oracle.parts import TOPOLOGY, Found, agent_state, outage, run_program, schedule_of

_WORKERS = 100
_BOUND = 70  # half of them, and four standard deviations


class Case(Found):
    """A herd of 100 workers in a simulation that does not run."""

    def __post_init__(self) -> None:
        simulation = Simulation(schedule_of(topology=replace(TOPOLOGY, workers=_WORKERS)), [])
        self.timeline = simulation.timeline
        super().__post_init__()
        self.truth = Truth(simulation.cluster, Model(15.0, 600.0, self.ledger))
        self.herd = Herd(simulation, self.ledger, self.truth)

    def restart(self, at_s: float) -> None:
        self.timeline.now_s = at_s
        self.herd.disturbed(healed=False)

    def register(self, number: int, at_s: float) -> None:
        self.timeline.now_s = at_s
        for each in range(number):
            self.herd.asked_to_register(f"worker-{each % _WORKERS}")


def test_workers_that_return_in_one_second_are_a_violation_once_they_are_too_many() -> None:
    case = Case()
    case.restart(0.0)
    case.restart(100.0)
    case.register(_BOUND, 110.0)
    case.register(_BOUND, 111.0)
    assert case.violations == []
    case.register(_BOUND + 10, 112.0)
    assert case.promises == [str(HERD_BOUNDED)]  # once a second


@pytest.mark.parametrize("at_s", [90.0, 161.0])
def test_registrations_at_another_time_than_after_a_restart_are_no_herd(at_s: float) -> None:
    case = Case()
    case.restart(0.0)
    if at_s > 100.0:
        case.restart(100.0)
    case.register(_BOUND + 10, at_s)
    assert case.violations == []


def test_registrations_after_a_fault_that_synchronizes_workers_are_no_herd() -> None:
    case = Case()
    case.restart(0.0)
    case.restart(100.0)
    case.herd.synchronized()
    case.register(_BOUND + 10, 110.0)
    assert case.violations == []


def test_workers_whose_machines_have_just_started_are_no_herd() -> None:
    case = Case()
    case.restart(0.0)
    case.restart(100.0)
    for machine in case.truth.machines.values():
        machine.started_s = 105.0
    case.register(_BOUND + 10, 110.0)
    assert case.violations == []


@pytest.mark.parametrize(("failures", "holds"), [(30, True), (31, False)])
def test_worker_may_try_twenty_times_and_once_in_five_seconds_of_an_outage(
    failures: int, holds: bool
) -> None:
    case = Case()
    machine = case.truth.machines["worker-1"]
    since_s = machine.node.clock.monotonic_s()
    case.timeline.now_s = 50.0
    case.herd.sample([run_program(machine, agent_state("worker-1", 1, outage=outage(failures, since_s)))])
    assert case.promises == ([] if holds else [str(HERD_BOUNDED)])


@pytest.mark.parametrize(("asked", "holds"), [(6, True), (7, False)])
def test_worker_may_ask_to_register_six_times_before_it_is_back(asked: int, holds: bool) -> None:
    case = Case()
    machine = case.truth.machines["worker-1"]
    running = [run_program(machine, agent_state("worker-1", 1))]
    case.truth.started("worker-1")
    for _ in range(asked):
        case.herd.asked_to_register("worker-1")
    case.timeline.now_s = 50.0
    case.herd.calm(40.0, running)
    assert case.promises == ([] if holds else [str(HERD_BOUNDED)])


@pytest.mark.parametrize(("sent", "holds"), [(12, True), (13, False)])
def test_worker_in_calm_sends_no_more_heartbeats_than_are_due(sent: int, holds: bool) -> None:
    case = Case()
    machine = case.truth.machines["worker-1"]
    running = [run_program(machine, agent_state("worker-1", 1))]
    case.truth.started("worker-1")
    case.timeline.now_s = 50.0
    case.herd.calm(40.0, running)
    case.timeline.now_s = 100.0  # 10 heartbeats later, which may come 5% sooner
    run_program(machine, agent_state("worker-1", 1))
    machine_run = running[0][1]
    object.__setattr__(machine_run.agent, "state", agent_state("worker-1", 1, acknowledged=sent))
    case.herd.check()
    assert case.promises == ([] if holds else [str(HERD_BOUNDED)])
