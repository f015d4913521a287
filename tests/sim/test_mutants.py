"""These tests show that the oracle finds bugs: each known bug is caught by the promise it breaks, and the
code as it is breaks none in the same runs."""

from __future__ import annotations

import pytest

from sim.faults.schedule import Schedule
from sim.oracle.oracle import Oracle
from sim.simulation.simulation import Simulation
from sim.verdict.mutants import MUTANTS, Mutant, applied
from sim.verdict.promises import PROMISES

_SEEDS = (1, 2)
_SCHEDULES = list(
    {schedule.name: schedule for mutant in MUTANTS.values() for schedule in [mutant.schedule(1)]}
)


def _run(schedule: Schedule) -> Oracle:
    oracle = Oracle()
    Simulation(schedule, [oracle]).run()
    return oracle


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_mutant_in_its_schedule_is_caught_by_its_promise(mutant: Mutant) -> None:
    for seed in _SEEDS:
        with applied(mutant.name):
            oracle = _run(mutant.schedule(seed))
        assert str(mutant.promise) in {violation.promise for violation in oracle.violations}


@pytest.mark.parametrize("name", _SCHEDULES)
def test_production_code_in_the_schedules_of_mutants_breaks_no_promise(name: str) -> None:
    make = next(mutant.schedule for mutant in MUTANTS.values() if mutant.schedule(1).name == name)
    for seed in _SEEDS:
        assert _run(make(seed)).violations == []


def test_every_promise_has_a_mutant_that_breaks_it() -> None:
    assert {mutant.promise for mutant in MUTANTS.values()} == set(PROMISES)


def test_mutant_that_was_applied_leaves_the_production_code_as_it_was() -> None:
    before = [getattr(mutant.owner, mutant.attribute) for mutant in MUTANTS.values()]
    for name in MUTANTS:
        with applied(name):
            pass
    assert [getattr(mutant.owner, mutant.attribute) for mutant in MUTANTS.values()] == before


def test_unknown_mutant_is_refused() -> None:
    with pytest.raises(KeyError), applied("no-such-bug"):
        pass
