"""The scenario that is made anew from each seed: options and faults drawn at random, many kinds at once.

Half of the kinds, drawn anew, are left out of each run, as a kind that is always there hides bugs that show
without it (Groce et al., Swarm Testing, 2012).
"""

from __future__ import annotations

from random import Random

from minicloud.core.liveness.policy import LivenessPolicy
from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.engine.randomness import Streams
from sim.faults.kind import FaultKind, Lasts, On
from sim.faults.kinds import KINDS, SIMULATED
from sim.faults.schedule import Fault, Phases, Schedule
from sim.net.network import Delay
from sim.scenario.reading import ScenarioError
from sim.scenario.selectors import select

NAME = "swarm"
SUMMARY = "Options and faults drawn from the seed: many kinds at once, each run other ones."

_SETUP_S = 60.0
_SHORTEST_CHAOS_S = 120.0
_SHORTEST_S = 510.0  # of a run: the longest timers a seed may draw need as much
_FAULTS = (3, 12)


def _place(kind: FaultKind) -> int:
    assert kind.swarm_place is not None
    return kind.swarm_place


_ON_CONTROL_PLANE = tuple(
    kind.name
    for kind in sorted((kind for kind in KINDS.values() if kind.swarm_place is not None), key=_place)
)
_ON_WORKERS = tuple(kind.name for kind in SIMULATED.values() if kind.on is not On.CONTROL_PLANE)


def swarm(seed: int, workers: int | None = None, duration_s: float | None = None) -> Schedule:
    """The schedule of that seed.

    `duration_s` is that of the whole run, by default drawn. Raises `ScenarioError` if it is too short.
    """
    if duration_s is not None and duration_s < _SHORTEST_S:
        raise ScenarioError(
            f"--duration: {NAME} takes up to {_SHORTEST_S:g} s to form and to settle: give it longer"
        )
    random = Streams(seed).stream("swarm")
    interval_s = random.choice([5.0, 10.0, 30.0])
    timeout_s = interval_s * random.choice([2.5, 3.0, 4.0])
    topology = Topology(
        workers=workers or random.randint(5, 50),
        zones=tuple("abcdef"[: random.randint(1, 6)]),
        ramp_s=random.choice([0.0, 1.0, interval_s]),
        clock_drift=random.choice([0.0, 1e-5, 1e-4]),
        delay=random.choice([Delay(0.0002, 0.002), Delay(0.01, 0.08), Delay(0.0002, 0.002, 0.01, 0.3)]),
        timers=LivenessPolicy(interval_s, timeout_s, random.choice([24 * 3600.0, 4 * timeout_s])),
    )
    check_s = timeout_s + 3 * interval_s + 120.0
    chaos_s = max(_SHORTEST_CHAOS_S, 6 * timeout_s)
    if duration_s is not None:
        chaos_s = max(_SHORTEST_CHAOS_S, duration_s - _SETUP_S - check_s)
    phases = Phases(_SETUP_S, chaos_s, check_s)
    on_workers = random.sample(_ON_WORKERS, len(_ON_WORKERS) // 2)
    on_control_plane = random.sample(_ON_CONTROL_PLANE, len(_ON_CONTROL_PLANE) // 2)
    faults: list[Fault] = []
    for _ in range(random.randint(*_FAULTS)):
        if random.random() < 0.3:
            kind, target = random.choice(on_control_plane), CONTROL_PLANE
        else:
            kind, target = random.choice(on_workers), _target(topology, random)
        for_s = 0.0 if KINDS[kind].lasts is Lasts.MOMENT else _lasts_s(timeout_s, random)
        at_s = phases.setup_s + random.random() * (chaos_s - for_s)
        nodes = select(target, topology, random)
        faults.append(Fault(kind, at_s, nodes, for_s, KINDS[kind].draw(target, topology.workers, random)))
    faults.sort(key=lambda fault: fault.at_s)
    return Schedule(NAME, seed, topology, phases, tuple(faults), ("registered", "heartbeats"))


def _target(topology: Topology, random: Random) -> str:
    return random.choice(
        ["all", f"zone:{random.choice(topology.zones)}", "random:10%", "random:40%", "random:1"]
    )


def _lasts_s(timeout_s: float, random: Random) -> float:
    """Draw a length well below the timeout, around it, or well above."""
    return timeout_s * random.choice([0.05, 0.5, 0.9, 1.0, 1.1, 2.0]) * (0.9 + 0.2 * random.random())
