"""Scenarios as people write them, and the schedules that are made of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.engine.randomness import Streams
from sim.faults.kinds import KINDS, SIMULATED
from sim.faults.schedule import Fault, Schedule, ScheduleError
from sim.scenario.expand import expand
from sim.scenario.flags import fault_from_flag
from sim.scenario.reading import ScenarioError
from sim.scenario.scenario import Scenario, builtin_names, load, parse
from sim.scenario.selectors import SelectorError, select
from sim.scenario.swarm import swarm

TEN = Topology(workers=10, zones=("a", "b"))


def scenario(faults: str, head: str = "") -> Scenario:
    return parse(f'name = "x"\nsummary = "s"\n{head}\n{faults}', "x.toml")


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_scenario_expands_to_faults_that_end_with_the_chaos(name: str) -> None:
    schedule = expand(load(name), seed=7)
    assert load(name).name == name
    assert schedule.probes
    for fault in schedule.faults:
        assert fault.nodes
        assert schedule.phases.setup_s <= fault.at_s <= fault.end_s <= schedule.phases.heal_s + 1e-9
        assert fault.kind in SIMULATED


@pytest.mark.parametrize("name", ["partition", "lossy-network", "duplicate-ids"])
def test_schedule_written_as_json_reads_the_same(name: str) -> None:
    schedule = expand(load(name), seed=3, workers=30)
    assert Schedule.from_json(schedule.to_json()) == schedule


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_schedule_is_refused(data: bytes) -> None:
    with pytest.raises(ScheduleError, match="not a schedule"):
        Schedule.from_json(data)


def test_same_seed_gives_the_same_schedule_and_another_one_another() -> None:
    assert expand(load("partition"), 1) == expand(load("partition"), 1)
    assert expand(load("partition"), 1) != expand(load("partition"), 2)
    assert swarm(1) == swarm(1)
    assert swarm(1) != swarm(2)


def test_taking_one_fault_out_leaves_what_the_others_drew() -> None:
    text = '[[faults]]\nkind = "crash"\ntarget = "random:30%"\nat = ["0s", "5m"]\nfor = "1m"\n'
    both = expand(scenario(text + text.replace("crash", "pause")), 1)
    last = next(fault for fault in both.faults if fault.kind == "crash")
    assert expand(scenario(text), 1).faults == (last,)


def test_scenario_with_very_many_workers_starts_2000_a_second() -> None:
    assert [expand(load("steady"), 1, workers).topology.ramp_s for workers in (5_000, 100_000)] == [5.0, 50.0]


@pytest.mark.parametrize("seed", range(50))
def test_swarm_draws_faults_that_fit_its_topology(seed: int) -> None:
    schedule = swarm(seed, 20)
    names = {CONTROL_PLANE, *schedule.topology.worker_names}
    assert schedule.faults
    for fault in schedule.faults:
        assert fault.end_s <= schedule.phases.heal_s + 1e-9
        assert set(fault.nodes) <= names
        assert set(fault.options) <= {option.code_name for option in KINDS[fault.kind].options}
    assert Schedule.from_json(schedule.to_json()) == schedule


def test_swarm_leaves_kinds_out() -> None:
    kinds = [{fault.kind for fault in swarm(seed).faults} for seed in range(100)]
    assert set.union(*kinds) == set(SIMULATED)
    assert all(len(each) < len(SIMULATED) / 2 + 3 for each in kinds)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("all", TEN.worker_names),
        ("zone:b", [f"worker-{number}" for number in (1, 3, 5, 7, 9)]),
        ("worker-3", ["worker-3"]),
        ("control-plane", [CONTROL_PLANE]),
        ("worker-7, worker-2", ["worker-2", "worker-7"]),
        ("worker-2,zone:a", [f"worker-{number}" for number in (0, 2, 4, 6, 8)]),
    ],
)
def test_selector_names_nodes_in_order(selector: str, expected: list[str]) -> None:
    assert select(selector, TEN, Streams(1).stream("x")) == tuple(expected)


@pytest.mark.parametrize(
    ("selector", "count"), [("random:30%", 3), ("random:4", 4), ("random:1%", 1), ("random:99", 10)]
)
def test_random_selector_draws_that_many(selector: str, count: int) -> None:
    assert len(select(selector, TEN, Streams(1).stream("x"))) == count


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("worker-10", "no worker-10: there are worker-0 to worker-9"),
        ("worker-1,worker-99", "no worker-99: there are"),
        ("zone:c", "no zone 'c': there are a, b"),
        ("random:x", "'random:x' is no share: use random:1% to random:100%"),
        ("random:0", "is no share"),
        ("random:-3", "is no share"),
        ("random:150%", "is no share"),
        ("random:0%", "is no share"),
        ("random:nan%", "is no share"),
        ("random:infinity%", "is no share"),
        ("everybody", "'everybody' selects nothing: use all, zone:NAME"),
        ("", "'' selects nothing"),
    ],
)
def test_selector_of_nobody_is_refused_with_what_there_is(selector: str, message: str) -> None:
    with pytest.raises(SelectorError, match=re.escape(message)):
        select(selector, TEN, Streams(1).stream("x"))


def test_repeated_fault_fills_the_chaos() -> None:
    text = '[[faults]]\nkind = "crash"\nat = "10s"\nevery = "1m"\nfor = "30s"\n'
    schedule = expand(scenario(text), 1, duration_s=120 + 300 + 300)
    assert [fault.at_s - 120 for fault in schedule.faults] == [10, 70, 130, 190, 250]


def test_duration_shorter_than_setup_and_check_is_refused() -> None:
    with pytest.raises(ScenarioError, match="give it longer"):
        expand(load("steady"), 1, duration_s=10)


def test_rolling_restart_takes_one_at_a_time() -> None:
    schedule = expand(
        scenario('[[faults]]\nkind = "rolling-restart"\nfor = "5m"\ndown = "2s"\n'), 1, workers=10
    )
    assert [fault.nodes for fault in schedule.faults] == [(name,) for name in TEN.worker_names]
    for earlier, later in zip(schedule.faults, schedule.faults[1:], strict=False):
        assert earlier.end_s <= later.at_s
    assert {fault.for_s for fault in schedule.faults} == {2.0}


def test_swizzle_stops_and_frees_each_link_once() -> None:
    schedule = expand(scenario('[[faults]]\nkind = "swizzle"\nat = "1m"\nfor = "4m"\n'), 1, workers=10)
    assert sorted(fault.nodes[0] for fault in schedule.faults) == sorted(TEN.worker_names)
    starts = [fault.nodes for fault in schedule.faults]
    ends = [fault.nodes for fault in sorted(schedule.faults, key=lambda fault: fault.end_s)]
    assert starts != ends
    assert all(fault.at_s >= 180 and fault.end_s <= 420 for fault in schedule.faults)


ALL = tuple(TEN.worker_names)
CP = (CONTROL_PLANE,)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("loss=5%", Fault("loss", 120, ALL, 600, {"probability": 0.05})),
        ("delay=50ms..500ms,for=1m", Fault("delay", 120, ALL, 60, {"low_s": 0.05, "high_s": 0.5})),
        ("crash=worker-3,at=1m", Fault("crash", 180, ("worker-3",), 180)),
        ("remove=zone:a", Fault("remove", 120, ALL[::2])),
        ("clock-step=-1h,target=control-plane", Fault("clock-step", 120, CP, 180, {"by_s": -3600.0})),
        ("slow-server=1ms..2ms", Fault("slow-server", 120, CP, 600, {"low_s": 0.001, "high_s": 0.002})),
        (
            "partition=worker-1,worker-2,direction=to-server,for=9s",
            Fault("partition", 120, ALL[1:3], 9, {"direction": "to-server"}),
        ),
    ],
)
def test_fault_flag_says_what_a_scenario_would(flag: str, expected: Fault) -> None:
    empty = scenario("", '[topology]\nworkers = 10\nzones = ["a", "b"]')
    (fault,) = expand(replace(empty, faults=(fault_from_flag(flag, empty),)), 1).faults
    assert fault == replace(expected, for_s=fault.for_s)
    assert fault.for_s == pytest.approx(expected.for_s)
