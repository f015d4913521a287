"""The promises that hold in calm: who runs and is connected is HEALTHY, who is not is UNHEALTHY."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minicloud.core.model import Admin, Health
from minicloud.worker.agent_state import Phase
from sim.engine.clocks import NodeClock
from sim.faults.schedule import Fault
from sim.oracle.convergence import Convergence
from sim.oracle.durability import Durability
from sim.oracle.model import Model
from sim.oracle.truth import Truth
from sim.simulation.simulation import Simulation
from sim.verdict.promises import (
    CRASHED_DETECTED,
    ENDPOINT_PROVED,
    HERD_BOUNDED,
    IDS_UNIQUE,
    LIVE_RECOVERED,
    VIEW_IS_TRUTH,
)
from tests.sim.oracle.parts import TOPOLOGY, Found, agent_state, registration, run_program, schedule_of

_ID = "worker-1"
_INCARNATION = 5


class Case(Found):
    """A cluster in which worker-1 runs and is registered; all its faults have ended."""

    def __init__(self, *faults: Fault) -> None:
        simulation = Simulation(schedule_of(*faults), [])
        super().__init__(simulation.timeline)
        control_plane = simulation.cluster.control_plane
        self.truth = Truth(simulation.cluster, Model(15.0, 600.0, self.ledger))
        self.durability = Durability(self.ledger, control_plane.clock)
        self.convergence = Convergence(simulation, self.ledger, self.truth, self.durability)
        self.machine = self.truth.machines[_ID]
        node = self.machine.node
        self.state = agent_state(_ID, _INCARNATION)
        _, self.program, _ = run_program(self.machine, self.state)
        self.truth.started(_ID)
        self.shown = SimpleNamespace(
            worker_id=_ID,
            instance_id=node.instance_id,
            endpoint=node.endpoint,
            incarnation=_INCARNATION,
            health=Health.HEALTHY,
            admin=Admin.ACTIVE,
            zone=node.zone,
            resources=SimpleNamespace(cpu_cores=8),
            last_heartbeat_s=0.0,
        )
        self.registry = {_ID: self.shown}
        shown = SimpleNamespace(get=self.registry.get, workers=self.registry.values)
        membership = SimpleNamespace(sweep_due=lambda: shown)
        self.run: Any = SimpleNamespace(
            node=SimpleNamespace(clock=NodeClock(self.timeline)),
            process=SimpleNamespace(alive=True, paused=False),
            plane=SimpleNamespace(membership=membership),
            server=SimpleNamespace(open_calls=0),
        )

    def set_state(self, **changes: Any) -> None:
        self.program.agent = SimpleNamespace(state=self.state._replace(**changes))  # type: ignore[assignment]

    def sample_at(self, at_s: float) -> list[str]:
        """The promises that are found broken once the cluster has been calm for so long."""
        self.convergence.healed()
        self.timeline.now_s = at_s
        self.convergence.sample(self.run)
        return self.promises


def test_bound_is_an_interval_a_lost_call_and_the_longest_backoff() -> None:
    delays_s = 4 * (TOPOLOGY.delay.most_s + 0.1)
    assert Case().convergence.bound_s == pytest.approx(1.001 * (1.05 * 5.0 + 10.0 + 30.0 + delays_s))


@pytest.mark.parametrize(
    ("fault", "lingers_s"),
    [
        (Fault("duplication", 20.0, (_ID,), 5.0), 5.0),
        (Fault("delay", 20.0, (_ID,), 5.0, {"high_s": 8.0}), 8.0),
        (Fault("delay", 20.0, (_ID,), 5.0, {"tail_s": 60.0}), 60.0),
        (Fault("loss", 20.0, (_ID,), 5.0), 0.0),
    ],
)
def test_bound_is_longer_by_what_a_fault_leaves_under_way(fault: Fault, lingers_s: float) -> None:
    longer_s = Case(fault).convergence.bound_s - Case().convergence.bound_s
    assert longer_s == pytest.approx(1.001 * lingers_s)


async def test_worker_that_is_shown_as_it_is_breaks_nothing() -> None:
    case = Case()
    assert case.sample_at(300.0) == []
    assert case.ledger.checks[LIVE_RECOVERED] == case.ledger.checks[VIEW_IS_TRUTH] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("health", Health.UNHEALTHY), ("incarnation", 4), ("instance_id", "another")],
)
async def test_worker_that_runs_and_is_connected_has_to_be_a_healthy_member(name: str, value: object) -> None:
    case = Case()
    setattr(case.shown, name, value)
    assert str(LIVE_RECOVERED) in case.sample_at(300.0)


async def test_worker_that_runs_and_is_no_member_breaks_promise_11_after_the_bound_and_not_before() -> None:
    case = Case()
    del case.registry[_ID]
    assert case.sample_at(case.convergence.bound_s - 0.1) == []
    case.timeline.now_s += 0.2
    case.convergence.sample(case.run)
    case.convergence.sample(case.run)  # reported once
    assert case.promises == [str(LIVE_RECOVERED)]


@pytest.mark.parametrize("calls", [5, 6])
async def test_cluster_is_not_calm_while_many_calls_are_open(calls: int) -> None:
    case = Case()
    del case.registry[_ID]
    case.run.server.open_calls = calls
    assert bool(case.sample_at(300.0)) is (calls == 5)


async def test_worker_that_stops_need_not_be_a_member() -> None:
    case = Case()
    del case.registry[_ID]
    case.set_state(phase=Phase.STOPPING)
    assert case.sample_at(300.0) == []


@pytest.mark.parametrize(
    ("name", "value", "promise"),
    [
        ("endpoint", f"{_ID}:1", ENDPOINT_PROVED),
        ("zone", "elsewhere", VIEW_IS_TRUTH),
        ("resources", SimpleNamespace(cpu_cores=7), VIEW_IS_TRUTH),
        ("admin", Admin.CORDONED, VIEW_IS_TRUTH),
    ],
)
async def test_view_of_a_healthy_worker_has_to_be_the_truth(
    name: str, value: object, promise: object
) -> None:
    case = Case()
    setattr(case.shown, name, value)
    assert case.sample_at(300.0) == [str(promise)]


@pytest.mark.parametrize("health", [Health.HEALTHY, Health.UNHEALTHY])
async def test_worker_whose_machine_is_silent_has_to_be_unhealthy(health: Health) -> None:
    case = Case()
    case.program.process.alive = False
    case.truth.look((_ID,))
    case.shown.health = health
    assert case.sample_at(case.convergence.silence_s - 0.1) == []
    case.timeline.now_s += 0.2
    case.convergence.sample(case.run)
    assert case.promises == ([str(CRASHED_DETECTED)] if health is Health.HEALTHY else [])


async def test_worker_of_no_machine_that_there_is_has_to_be_unhealthy() -> None:
    case = Case()
    stranger = SimpleNamespace(**{**vars(case.shown), "worker_id": "stranger", "endpoint": "nowhere:1"})
    case.registry["stranger"] = stranger
    assert case.sample_at(300.0) == [str(CRASHED_DETECTED)]


def test_two_workers_in_one_incarnation_of_an_id_are_a_violation_at_any_time() -> None:
    case = Case()
    run_program(case.truth.machines["worker-2"], case.state)
    case.convergence.sample(None)
    case.convergence.sample(None)  # reported once
    assert case.promises == [str(IDS_UNIQUE)]


def test_two_workers_in_different_incarnations_of_an_id_are_none() -> None:
    case = Case()
    run_program(case.truth.machines["worker-2"], replace_incarnation(case.state))
    case.convergence.sample(None)
    assert case.violations == []


def replace_incarnation(state: Any) -> Any:
    return state._replace(incarnation=_INCARNATION + 1)


@pytest.mark.parametrize(("at_s", "holds"), [(40.0, True), (300.0, False)])
def test_verdict_on_a_worker_that_has_had_the_time_to_recover_is_a_violation(
    at_s: float, holds: bool
) -> None:
    case = Case()
    member = Model(15.0, 600.0, case.ledger).register(_ID, _INCARNATION, registration(_ID), 0.0)
    member.instance_id = case.machine.node.instance_id
    case.convergence.healed()
    case.timeline.now_s = at_s
    case.convergence.declared_unhealthy(member)
    assert case.promises == ([] if holds else [str(HERD_BOUNDED)])


def test_calm_begins_anew_when_the_control_plane_starts() -> None:
    case = Case()
    member = Model(15.0, 600.0, case.ledger).register(_ID, _INCARNATION, registration(_ID), 0.0)
    member.instance_id = case.machine.node.instance_id
    case.convergence.healed()
    case.timeline.now_s = 280.0
    case.convergence.disturbed()
    case.timeline.now_s = 300.0
    case.convergence.declared_unhealthy(member)
    assert case.violations == []
