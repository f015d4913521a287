"""Expands a scenario and a seed to a schedule: every random choice but delays is drawn here.

Each fault of the scenario draws from a stream of its own, so that leaving one out does not change the others.
Kinds that are patterns (a rolling restart, a link that flaps) become the single faults they consist of.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.engine.randomness import Streams
from sim.faults.kind import On
from sim.faults.schedule import Fault, Phases, Schedule
from sim.scenario.reading import FaultSection, ScenarioError
from sim.scenario.scenario import Scenario
from sim.scenario.selectors import SelectorError, select
from sim.scenario.table import MOST_FAULTS

# So many that the start itself is no storm: a control plane takes some thousand registrations a second.
_MOST_STARTS_PER_S = 2_000


def expand(
    scenario: Scenario, seed: int, workers: int | None = None, duration_s: float | None = None
) -> Schedule:
    """The schedule of `scenario` for `seed`.

    `workers` replaces the scenario's number; with `duration_s` the chaos is as long as that total allows.
    Raises `ScenarioError` if that is impossible.
    """
    topology = _topology(scenario, workers)
    phases = scenario.phases
    if duration_s is not None:
        chaos_s = duration_s - phases.setup_s - phases.check_s
        if chaos_s < 0:
            rest_s = phases.setup_s + phases.check_s
            raise ScenarioError(f"{scenario.name} takes {rest_s:g} s to form and to settle: give it longer")
        phases = Phases(phases.setup_s, chaos_s, phases.check_s)
    streams = Streams(seed)
    faults: list[Fault] = []
    for number, section in enumerate(scenario.faults):
        mine = _faults(section, topology, phases, streams.stream("fault", str(number)))
        late = [fault for fault in mine if fault.end_s > phases.heal_s + 1e-9]
        if late:
            raise section.place.refuse(
                "for",
                f"{section.kind.name}: would last until {late[0].end_s - phases.setup_s:g} s into the chaos, "
                f"which ends after {phases.chaos_s:g} s: end it sooner, or give the run a longer --duration",
            )
        faults += mine
        if len(faults) > MOST_FAULTS:
            raise section.place.refuse("", _too_many(section))
    faults.sort(key=lambda fault: fault.at_s)
    return Schedule(scenario.name, seed, topology, phases, tuple(faults), scenario.goals)


def _too_many(section: FaultSection) -> str:
    return (
        f"{section.kind.name}: makes more than {MOST_FAULTS:,} faults of one run: have it happen less often"
    )


def _topology(scenario: Scenario, workers: int | None) -> Topology:
    topology = scenario.topology
    workers = workers or topology.workers
    if 2 * topology.duplicates > workers:
        raise scenario.place.refuse(
            "duplicates",
            f"topology: duplicates = {topology.duplicates} is more than half of {workers} workers: "
            f"give at most {workers // 2}, or at least {2 * topology.duplicates} workers",
        )
    return replace(topology, workers=workers, ramp_s=max(topology.ramp_s, workers / _MOST_STARTS_PER_S))


def _faults(section: FaultSection, topology: Topology, phases: Phases, random: Random) -> list[Fault]:
    kind = section.kind
    of = section.options.get("of")
    if of is not None and of not in topology.worker_names:
        last = topology.worker_names[-1]
        raise section.place.refuse("of", f"{kind.name}: of = {of!r} is none of worker-0 to {last}")
    pattern = kind.pattern
    faults: list[Fault] = []
    for at_s in _moments(section, phases, random):
        fault = Fault(
            kind.name,
            phases.setup_s + at_s,
            _nodes(section, topology, random),
            _drawn_s(section.lasts_s, random),
            section.options,
        )
        if pattern is None:
            faults.append(fault)
            continue
        complete = kind.complete(fault)
        if pattern.count(complete) > MOST_FAULTS:
            raise section.place.refuse("", _too_many(section))
        faults += pattern.expand(complete, random)
    return faults


def _nodes(section: FaultSection, topology: Topology, random: Random) -> tuple[str, ...]:
    kind, place = section.kind, section.place
    try:
        nodes = select(section.target, topology, random)
    except SelectorError as error:
        raise place.refuse("target", f"{kind.name}: target: {error}") from None
    if kind.on is On.WORKERS and CONTROL_PLANE in nodes:
        raise place.refuse(
            "target", f"{kind.name}: is on workers only: leave {CONTROL_PLANE} out of 'target'"
        )
    if kind.on is On.CONTROL_PLANE and nodes != (CONTROL_PLANE,):
        problem = f"{kind.name}: is on the control plane only: leave 'target' out"
        raise place.refuse("target", problem)
    return nodes


def _moments(section: FaultSection, phases: Phases, random: Random) -> list[float]:
    if section.every_s is None:
        return [_drawn_s(section.at_s, random) for _ in range(section.times)]
    moments = []
    at_s = _drawn_s(section.at_s, random)
    while at_s + section.lasts_s[1] <= phases.chaos_s:
        moments.append(at_s)
        if len(moments) > MOST_FAULTS:
            raise section.place.refuse("every", _too_many(section))
        at_s += section.every_s
    if not moments:
        raise section.place.refuse(
            "every", f"{section.kind.name}: never happens, as the chaos ends after {phases.chaos_s:g} s"
        )
    return moments


def _drawn_s(span_s: tuple[float, float], random: Random) -> float:
    low_s, high_s = span_s
    return low_s + (high_s - low_s) * random.random() if high_s > low_s else low_s
