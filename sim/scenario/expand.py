"""From a scenario and a seed to a schedule: all that is left to chance, but for delays, is drawn here.

Each fault of the scenario draws from a stream of its own, so that taking one out leaves the others as they
were. Kinds that are patterns (a rolling restart, a link that flaps) become the single faults they consist of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from sim.cluster.cluster import CONTROL_PLANE, Topology
from sim.engine.randomness import Streams
from sim.faults.schedule import Fault, Phases, Schedule
from sim.scenario.reading import FaultSection, ScenarioError
from sim.scenario.scenario import Scenario
from sim.scenario.selectors import SelectorError, select
from sim.scenario.table import MOST_FAULTS, On, default_of

# So many that the start itself is no storm: a control plane takes some thousand registrations a second.
_MOST_STARTS_PER_S = 2_000

# A pattern makes of one fault, with its nodes and times drawn, the faults it stands for.
_Pattern = Callable[[Fault, Random], list[Fault]]


def expand(
    scenario: Scenario, seed: int, workers: int | None = None, duration_s: float | None = None
) -> Schedule:
    """The schedule of `scenario` for `seed`, with `workers` for its own number, and its chaos as long as
    `duration_s` in all allows. Raises `ScenarioError` where that cannot be.
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
    return Schedule(scenario.name, seed, topology, phases, tuple(faults), scenario.probes)


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
    pattern = _PATTERNS.get(kind.name)
    faults: list[Fault] = []
    for at_s in _moments(section, phases, random):
        fault = Fault(
            kind.name,
            phases.setup_s + at_s,
            _nodes(section, topology, random),
            _drawn_s(section.lasts_s, random),
            section.options,
        )
        if kind.name == "flapping-link" and _beats(fault) > MOST_FAULTS:
            raise section.place.refuse("", _too_many(section))
        faults += [fault] if pattern is None else pattern(fault, random)
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


# Patterns


def _one_way(fault: Fault, random: Random) -> list[Fault]:
    """A partition of one direction, by default that to the server."""
    options = {"direction": "to-server", **fault.options}
    return [Fault("partition", fault.at_s, fault.nodes, fault.for_s, options)]


def _swizzle(fault: Fault, random: Random) -> list[Fault]:
    """Links are stopped one by one in one order, and freed one by one in another."""
    half_s = fault.for_s / 2
    starts = sorted(random.random() * half_s for _ in fault.nodes)
    ends = [half_s + random.random() * half_s for _ in fault.nodes]
    order = random.sample(fault.nodes, len(fault.nodes))
    return [
        Fault("hold", fault.at_s + start_s, (node,), end_s - start_s)
        for node, start_s, end_s in zip(order, starts, ends, strict=True)
    ]


def _flapping(fault: Fault, random: Random) -> list[Fault]:
    """Links are cut for `down_s` and whole for `up_s`, over and over, each to its own beat."""
    down_s, up_s = _option_s(fault, "down_s"), _option_s(fault, "up_s")
    faults = []
    for node in fault.nodes:
        at_s = fault.at_s + random.random() * up_s
        while at_s + down_s <= fault.end_s:
            faults.append(Fault("partition", at_s, (node,), down_s))
            at_s += down_s + up_s * (0.5 + random.random())
    return faults


def _rolling_restart(fault: Fault, random: Random) -> list[Fault]:
    """Programs are restarted one after the other, each down for `down_s`."""
    down_s = _option_s(fault, "down_s")
    step_s = max(0.0, fault.for_s - down_s) / len(fault.nodes)
    return [
        Fault("crash", fault.at_s + number * step_s, (node,), down_s)
        for number, node in enumerate(fault.nodes)
    ]


def _beats(fault: Fault) -> float:
    """How many faults a flapping link makes, at most."""
    beat_s = _option_s(fault, "down_s") + _option_s(fault, "up_s") / 2
    return len(fault.nodes) * fault.for_s / beat_s


def _option_s(fault: Fault, name: str) -> float:
    value = fault.options.get(name, default_of(fault.kind, name))
    assert isinstance(value, float)
    return value


_PATTERNS: dict[str, _Pattern] = {
    "one-way-partition": _one_way,
    "swizzle": _swizzle,
    "flapping-link": _flapping,
    "rolling-restart": _rolling_restart,
}
