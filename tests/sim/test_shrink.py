"""Shrinking, against failures whose smallest cause is known."""

from __future__ import annotations

import pytest

from sim.cluster.topology import Topology
from sim.faults.schedule import Fault, Phases, Schedule
from sim.search.shrink import MOST_TRIES, Shrinker

FAULTS = tuple(
    Fault("crash", 120.0 + number, (f"worker-{number}", f"worker-{number + 1}"), 100.0)
    for number in range(40)
)
SCHEDULE = Schedule("x", 1, Topology(workers=200), Phases(120, 600, 300), FAULTS)


def starts(schedule: Schedule) -> set[float]:
    return {fault.at_s for fault in schedule.faults}


@pytest.mark.parametrize(
    "needed", [set[float](), {120.0}, {127.0}, {121.0, 155.0}, {120.0, 130.0, 140.0, 150.0}]
)
def test_faults_that_are_not_needed_are_left_out(needed: set[float]) -> None:
    smallest = Shrinker(SCHEDULE, lambda schedule: needed <= starts(schedule)).run()
    assert starts(smallest) == needed


@pytest.mark.parametrize("least", [1, 7, 64, 200])
def test_workers_are_reduced_to_the_least_that_fails(least: int) -> None:
    smallest = Shrinker(SCHEDULE, lambda schedule: schedule.topology.workers >= least).run()
    assert smallest.topology.workers == least


def test_faults_on_workers_that_are_gone_go_too() -> None:
    shrinker = Shrinker(SCHEDULE, lambda schedule: 125.0 in starts(schedule))
    smallest = shrinker.run()
    assert smallest.topology.workers == 6  # of its two, worker-5 and worker-6, one is enough
    assert smallest.faults[0].nodes == ("worker-5",)


def test_time_is_cut_down() -> None:
    def fails(schedule: Schedule) -> bool:
        return any(fault.at_s == 130.0 and fault.for_s >= 20 for fault in schedule.faults)

    smallest = Shrinker(SCHEDULE, fails).run()
    assert 20 <= smallest.faults[0].for_s <= 40
    assert smallest.phases.end_s < 320


def test_tries_are_bounded_and_the_best_so_far_is_kept() -> None:
    told: list[str] = []
    calls = 0

    def fails(schedule: Schedule) -> bool:
        nonlocal calls
        calls += 1
        return len(schedule.faults) == 40 and schedule.topology.workers == 200

    smallest = Shrinker(SCHEDULE, fails, told.append).run()
    assert fails(smallest)
    assert calls == MOST_TRIES + 1
    assert told[-1] == f"stopped after {MOST_TRIES} runs"
