"""From a scenario and a seed to a schedule: all that is left to chance, but for delays, is drawn here.

Each fault of the scenario draws from a stream of its own, so that taking one out leaves the others as they
were. Kinds that are patterns (a rolling restart, a link that flaps) become the single faults they consist of.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from minicloud.control.plane import Timers
from sim.cluster.cluster import Topology
from sim.engine.randomness import Streams
from sim.faults import OPTIONS
from sim.net.network import Delay
from sim.scenario.scenario import FaultSection, Scenario, ScenarioError, TopologySection, seconds
from sim.scenario.schedule import Fault, Phases, Schedule
from sim.scenario.selectors import select

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
    phases = Phases(
        seconds(scenario.phases.setup), seconds(scenario.phases.chaos), seconds(scenario.phases.check)
    )
    if duration_s is not None:
        chaos_s = duration_s - phases.setup_s - phases.check_s
        if chaos_s < 0:
            rest_s = phases.setup_s + phases.check_s
            raise ScenarioError(f"{scenario.name} takes {rest_s:g} s to form and to settle: give it longer")
        phases = Phases(phases.setup_s, chaos_s, phases.check_s)
    streams = Streams(seed)
    faults: list[Fault] = []
    for number, section in enumerate(scenario.faults):
        faults += _faults(section, topology, phases, streams.stream("fault", str(number)))
    late = [fault for fault in faults if fault.end_s > phases.heal_s + 1e-9]
    if late:
        raise ScenarioError(
            f"{scenario.name}: {late[0].kind} would last until {late[0].end_s - phases.setup_s:g} s into the "
            f"chaos, which ends after {phases.chaos_s:g} s: give the run a longer --duration"
        )
    faults.sort(key=lambda fault: fault.at_s)
    return Schedule(scenario.name, seed, topology, phases, tuple(faults), scenario.probes)


def _topology(scenario: Scenario, workers: int | None) -> Topology:
    section: TopologySection = scenario.topology
    workers = workers or section.workers
    return Topology(
        workers=workers,
        zones=section.zones,
        duplicates=section.duplicates,
        ramp_s=max(seconds(section.ramp), workers / _MOST_STARTS_PER_S),
        clock_offset_s=seconds(section.clock_offset),
        clock_drift=section.clock_drift,
        delay=Delay(*map(seconds, section.delay)),
        service_time=Delay(*map(seconds, section.service_time)),
        timers=Timers(
            seconds(scenario.timers.heartbeat_interval),
            seconds(scenario.timers.heartbeat_timeout),
            seconds(scenario.timers.retention),
        ),
    )


def _faults(section: FaultSection, topology: Topology, phases: Phases, random: Random) -> list[Fault]:
    if section.kind not in KINDS:
        raise ScenarioError(f"no fault {section.kind!r}: there are {', '.join(KINDS)}")
    unknown = set(section.options) - KINDS[section.kind]
    if unknown:
        known = ", ".join(sorted(KINDS[section.kind])) or "none of its own"
        raise ScenarioError(f"{section.kind} has no option {sorted(unknown)[0]}: it has {known}")
    faults: list[Fault] = []
    for at_s in _moments(section, phases, random):
        fault = Fault(
            section.kind,
            phases.setup_s + at_s,
            select(section.target, topology, random),
            _drawn_s(section.lasts, random),
            section.options,
        )
        pattern = _PATTERNS.get(section.kind)
        faults += [fault] if pattern is None else pattern(fault, random)
    return faults


def _moments(section: FaultSection, phases: Phases, random: Random) -> list[float]:
    if not section.every:
        return [_drawn_s(section.at, random) for _ in range(section.times)]
    every_s = seconds(section.every)
    if every_s <= 0:
        raise ScenarioError(f"{section.kind}: 'every' has to be more than 0")
    moments = []
    at_s = _drawn_s(section.at, random)
    while at_s + max(map(seconds, _pair(section.lasts))) <= phases.chaos_s:
        moments.append(at_s)
        at_s += every_s
    return moments


def _drawn_s(text: str | tuple[str, str], random: Random) -> float:
    low_s, high_s = map(seconds, _pair(text))
    return low_s + (high_s - low_s) * random.random() if high_s > low_s else low_s


def _pair(text: str | tuple[str, str]) -> tuple[str, str]:
    return (text, text) if isinstance(text, str) else text


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
    down_s, up_s = float(fault.options.get("down_s", 20.0)), float(fault.options.get("up_s", 20.0))
    faults = []
    for node in fault.nodes:
        at_s = fault.at_s + random.random() * up_s
        while at_s + down_s <= fault.end_s:
            faults.append(Fault("partition", at_s, (node,), down_s))
            at_s += down_s + up_s * (0.5 + random.random())
    return faults


def _rolling_restart(fault: Fault, random: Random) -> list[Fault]:
    """Programs are restarted one after the other, each down for `down_s`."""
    down_s = float(fault.options.get("down_s", 5.0))
    step_s = max(0.0, fault.for_s - down_s) / len(fault.nodes)
    return [
        Fault("crash", fault.at_s + number * step_s, (node,), down_s)
        for number, node in enumerate(fault.nodes)
    ]


_PATTERNS: dict[str, _Pattern] = {
    "one-way-partition": _one_way,
    "swizzle": _swizzle,
    "flapping-link": _flapping,
    "rolling-restart": _rolling_restart,
}
# Every kind there is, with the options it has.
KINDS: dict[str, frozenset[str]] = {
    **OPTIONS,
    "one-way-partition": frozenset({"direction"}),
    "swizzle": frozenset(),
    "flapping-link": frozenset({"down_s", "up_s"}),
    "rolling-restart": frozenset({"down_s"}),
}
