"""Runs under the oracle: what it measures, what it reports, and that watching changes nothing.

That it notices bugs is tested by `tests/sim/test_mutants.py`.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import structlog
from structlog.typing import EventDict

from minicloud.core.liveness.policy import LivenessPolicy
from sim.cluster.topology import CONTROL_PLANE
from sim.engine.clocks import EPOCH_S
from sim.faults.schedule import Fault, Schedule
from sim.oracle.durability import Durability
from sim.oracle.oracle import Oracle
from sim.record.recorder import Recorder
from sim.scenario.scenario import builtin_names, load
from sim.simulation.simulation import Simulation
from sim.verdict.goals import GOALS
from sim.verdict.mutants import applied
from sim.verdict.outcome import Outcome
from sim.verdict.promises import (
    CRASHED_DETECTED,
    HERD_BOUNDED,
    IDS_UNIQUE,
    LEAVING_NOT_OFFERED,
    NO_EARLY_VERDICT,
    OLD_INCARNATIONS_FENCED,
    PROMISES,
)
from tests.sim.oracle.parts import TOPOLOGY, outcome_of, schedule_of


def test_oracle_of_a_crash_measures_detection_and_recovery() -> None:
    outcome = outcome_of(schedule_of(Fault("crash", 12.0, ("worker-1",), 30.0)))
    detection, recovery = outcome.detection_seconds, outcome.recovery_seconds
    assert (detection.count, recovery.count) == (1, 1)
    assert 15.0 - 5.25 <= detection.max <= 15.1  # its last heartbeat was sent up to an interval before
    assert 0.0 < recovery.max < 1.0
    assert outcome.false_positives == 0
    assert outcome.goals["expired"] == outcome.goals["restarted-worker"] == 1
    assert "recovered" not in outcome.goals  # it was registered again


def test_oracle_of_a_paused_control_plane_sees_no_verdict_on_workers_that_were_well() -> None:
    outcome = outcome_of(schedule_of(Fault("pause", 20.0, (CONTROL_PLANE,), 20.0)))
    assert outcome.violations == []
    assert outcome.false_positives == 0
    assert "expired" not in outcome.goals
    assert outcome.goals["control-plane-paused"] == outcome.goals["sweep-while-paused"] == 1


def test_oracle_of_a_worker_that_never_comes_back_checks_that_it_is_unhealthy() -> None:
    outcome = outcome_of(schedule_of(Fault("crash", 12.0, ("worker-1",), 0.0, {"restart": "never"})))
    assert outcome.violations == []
    assert outcome.checks[str(CRASHED_DETECTED)] == outcome.goals["lost-for-good"] > 0


def test_oracle_of_a_quiet_run_has_checked_every_promise_but_those_on_the_dead_and_the_leaving() -> None:
    outcome = outcome_of(schedule_of())
    unchecked = {name for name, count in outcome.checks.items() if not count}
    assert unchecked == {str(CRASHED_DETECTED), str(LEAVING_NOT_OFFERED)}
    assert list(outcome.checks) == [str(promise) for promise in PROMISES]


def _given_twice(clock_set_by_s: float) -> Schedule:
    """worker-2 is cut off while its id goes, by a registry that knows nothing of it, to another."""
    return schedule_of(
        Fault("partition", 12.0, ("worker-2",), 45.0),
        Fault("clock-step", 14.0, (CONTROL_PLANE,), 5.0, {"by_s": clock_set_by_s}),
        Fault("wipe", 15.0, (CONTROL_PLANE,), 2.0),
        Fault("duplicate-id", 25.0, ("worker-5",), 0.0, {"of": "worker-2"}),
    )


@pytest.mark.parametrize("clock_set_by_s", [60.0, 0.0, -1.0])
def test_oracle_of_a_lost_registry_sees_two_in_one_incarnation(clock_set_by_s: float) -> None:
    assert outcome_of(_given_twice(clock_set_by_s)).violations == []
    with applied("lost-floor"):
        broken = {violation.promise for violation in outcome_of(_given_twice(clock_set_by_s)).violations}
    assert {str(OLD_INCARNATIONS_FENCED), str(IDS_UNIQUE)} <= broken


def test_oracle_of_a_lost_registry_and_a_clock_set_back_knows_that_two_may_be_in_one_incarnation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to_the_first_start_s = -17.0
    assert outcome_of(_given_twice(to_the_first_start_s)).violations == []
    monkeypatch.setattr(Durability, "may_be_twice", lambda *_: False)
    assert str(IDS_UNIQUE) in {
        violation.promise for violation in outcome_of(_given_twice(to_the_first_start_s)).violations
    }


def test_oracle_of_a_registry_lost_after_a_start_with_a_fast_clock_knows_that_incarnations_may_fall() -> None:
    schedule = schedule_of(
        Fault("clock-step", 14.0, (CONTROL_PLANE,), 3.01, {"by_s": 1000.0}),
        Fault(
            "wipe", 15.0, (CONTROL_PLANE,), 2.0
        ),  # starts at 17 s by the fast clock, which is right soon after
        Fault("wipe", 30.0, (CONTROL_PLANE,), 2.0),
    )
    assert outcome_of(schedule).violations == []


def test_oracle_names_goals_that_were_missed() -> None:
    schedule = replace(schedule_of(), probes=("registered", "forgotten"))
    assert outcome_of(schedule).missed_goals == ("forgotten",)


def test_oracle_at_depth_wire_asks_for_no_goal_that_needs_doubled_messages() -> None:
    topology = replace(TOPOLOGY, workers=2, depth="wire")
    schedule = replace(schedule_of(topology=topology), probes=("duplicate-delivered", "forgotten"))
    assert outcome_of(schedule).missed_goals == ("forgotten",)


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_scenario_asks_for_goals_that_there_are(name: str) -> None:
    assert set(load(name).goals) <= set(GOALS)


def test_oracle_until_failure_ends_the_run_with_the_first_violation() -> None:
    schedule = schedule_of(Fault("crash", 12.0, ("worker-1",), 30.0))
    oracle = Oracle(until_failure=True)
    simulation = Simulation(schedule, [oracle])
    with applied("early-expiry"):
        simulation.run()
    assert [violation.promise for violation in oracle.violations] == [str(NO_EARLY_VERDICT)]
    assert simulation.timeline.now_s == oracle.violations[0].at_s


def test_violation_of_a_worker_tells_what_happened_to_the_control_plane_too() -> None:
    oracle = Oracle()
    with applied("restart-without-grace"):
        outcome_of(schedule_of(Fault("crash", 30.0, (CONTROL_PLANE,), 3.0)), oracle)
    context = oracle.violations[0].context
    assert "30.000000 begins crash" in context
    assert "33.000000 starts, its disk knows workers: 6" in context


def test_oracle_in_calm_takes_a_verdict_on_a_connected_worker_for_a_broken_promise() -> None:
    topology = replace(TOPOLOGY, timers=LivenessPolicy(5.0, 9.0, 600.0))
    with applied("early-expiry"):  # 4.5 s: between two heartbeats
        outcome = outcome_of(schedule_of(topology=topology))
    herd = [violation for violation in outcome.violations if violation.promise == str(HERD_BOUNDED)]
    assert herd
    assert herd[0].at_s >= 60.0 + 5.25 + 10.0 + 30.0  # not before it had the time to come back


def test_violation_tells_what_happened_to_its_node_before_in_order() -> None:
    schedule = schedule_of(Fault("crash", 12.0, ("worker-1",), 30.0))
    oracle = Oracle()
    with applied("early-expiry"):
        outcome_of(schedule, oracle)
    context = oracle.violations[0].context
    times_s = [float(line.partition(" ")[0]) for line in context]
    assert times_s == sorted(times_s)
    assert any(line.startswith("12.000000 ") for line in context)
    _, what, incarnation = context[-1].split()
    assert what == "unhealthy"
    assert int(incarnation) > EPOCH_S * 1000 - 10_000  # the control plane's clock is a little wrong, too


def test_run_leaves_the_log_of_its_process_as_it_was() -> None:
    def nothing(logger: object, method: str, event: EventDict) -> EventDict:
        return event

    structlog.configure(
        processors=[nothing], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
    )
    before = structlog.get_config()
    try:
        Simulation(schedule_of(), [Oracle()]).run()
        assert structlog.get_config() == before
    finally:
        structlog.reset_defaults()


def test_run_that_is_watched_is_the_same_run() -> None:
    schedule = schedule_of(
        Fault("crash", 12.0, ("worker-1",), 30.0),
        Fault("pause", 20.0, (CONTROL_PLANE,), 20.0),
        Fault("duplication", 30.0, tuple(TOPOLOGY.worker_names), 20.0, {"probability": 0.5}),
        Fault("crash", 50.0, (CONTROL_PLANE,), 3.0),
    )
    traces = []
    for observers in ([], [Oracle()]):
        recorder = Recorder(schedule)
        Simulation(schedule, [*observers, recorder]).run()
        outcome = Outcome("test", 1, 6)
        recorder.fill(outcome)
        traces.append(outcome.trace_hash)
    assert traces[0] == traces[1]
