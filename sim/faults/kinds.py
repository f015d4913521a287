"""The table of all kinds of faults. Everything that depends on the kind of a fault is in its entry here.

The checks of scenarios, schedules and `--fault`, `--list`, docs/scenarios.md, the swarm, the faults of
`--target` and the oracle's allowances are made from this table (DESIGN 58). A new kind is an entry here and
an effect in `links`, `machines` or `operators`:

    FaultKind("reset", "connections break", On.ANY, Lasts.MOMENT, effect=links.reset)

Always holds: a kind has either an effect or a pattern (`FaultKind.__post_init__`), and a default passes the
check of its own option (tests/sim/test_scenario_table.py).
"""

from __future__ import annotations

from random import Random

from sim.cluster.topology import CONTROL_PLANE
from sim.faults import links, machines, operators, patterns, real
from sim.faults.kind import Draw, FaultKind, Goal, Lasts, On, Pattern, Registry
from sim.faults.schedule import Options
from sim.options.key import Key
from sim.options.values import YEAR_S, choice, duration, number, offset, share, worker

_DAY_S = 86_400.0
_MOST_DELAY_S = 3600.0
_NEVER_RESTARTED = 0.3  # share of the workers' crashes in a swarm

_DIRECTION = Key(
    "direction",
    choice("both", "to-server", "to-client"),
    "which messages: those of calls or of answers",
    "both",
)


def _one_of(option: str, *values: float | str) -> Draw:
    """Draw `option` from `values`."""

    def draw(target: str, workers: int, random: Random) -> Options:
        return {option: random.choice(values)}

    return draw


def _range_to(*highest_s: float) -> Draw:
    """Draw a range from a tenth of one of `highest_s` to that."""

    def draw(target: str, workers: int, random: Random) -> Options:
        high_s = random.choice(highest_s)
        return {"low_s": high_s / 10, "high_s": high_s}

    return draw


def _restart(target: str, workers: int, random: Random) -> Options:
    """Draw whether workers start again. The control plane always does, and draws nothing."""
    never = target != CONTROL_PLANE and random.random() < _NEVER_RESTARTED
    return {"restart": "never"} if never else {}


def _any_worker(target: str, workers: int, random: Random) -> Options:
    """Draw the worker whose id is wanted."""
    return {"of": f"worker-{random.randrange(workers)}"}


_ANY_DIRECTION = _one_of("direction", "both", "to-server", "to-client")
_ANY_PROBABILITY = _one_of("probability", 0.01, 0.1, 0.5)


def _probability(what: str) -> tuple[Key, ...]:
    return _DIRECTION, Key(
        "probability", share(), f"how many messages are {what}; overlapping faults add up", "10%"
    )


_LINKS = (
    FaultKind(
        "partition",
        "messages are lost, those under way too",
        On.ANY,
        Lasts.NEEDED,
        (_DIRECTION,),
        effect=links.partition,
        draw=_ANY_DIRECTION,
        swarm_place=3,
    ),
    FaultKind(
        "hold",
        "messages wait for the end, and then arrive all at once",
        On.ANY,
        Lasts.NEEDED,
        (_DIRECTION,),
        effect=links.hold,
        synchronizes=True,
        draw=_ANY_DIRECTION,
    ),
    FaultKind(
        "delay",
        "messages take longer",
        On.ANY,
        Lasts.NEEDED,
        (
            _DIRECTION,
            Key("low", duration(0.0, _MOST_DELAY_S), "how much longer, at least", "50ms", "low_s"),
            Key("high", duration(0.0, _MOST_DELAY_S), "how much longer, at most", "500ms", "high_s"),
            Key("tail", share(), "how many messages take between 'high' and 'tail-high'", "0%"),
            Key(
                "tail-high",
                duration(0.0, _MOST_DELAY_S),
                "how much longer those take, at most",
                "0s",
                "tail_s",
            ),
        ),
        main="low",
        effect=links.delay,
        real=real.delay,
        lingers=True,
        synchronizes=True,
        draw=_range_to(0.1, 1.0, 8.0),
    ),
    FaultKind(
        "loss",
        "messages are lost at random",
        On.ANY,
        Lasts.NEEDED,
        _probability("lost"),
        main="probability",
        effect=links.loss,
        draw=_ANY_PROBABILITY,
    ),
    FaultKind(
        "duplication",
        "messages arrive twice",
        On.ANY,
        Lasts.NEEDED,
        _probability("doubled"),
        main="probability",
        effect=links.duplication,
        lingers=True,
        draw=_ANY_PROBABILITY,
    ),
    FaultKind(
        "reordering",
        "messages are overtaken by those sent up to 5 s later",
        On.ANY,
        Lasts.NEEDED,
        _probability("overtaken"),
        main="probability",
        effect=links.reordering,
        lingers=True,
        draw=_ANY_PROBABILITY,
    ),
    FaultKind(
        "reset",
        "connections break, and calls under way fail on both sides",
        On.ANY,
        Lasts.MOMENT,
        effect=links.reset,
        real=real.reset,
    ),
)
_MACHINES = (
    FaultKind(
        "crash",
        "machines lose power; they start again, with what their disk kept, at the end",
        On.ANY,
        Lasts.OPTIONAL,
        (Key("restart", choice("at-end", "never"), "whether they start again", "at-end"),),
        effect=machines.crash,
        real=real.crash,
        draw=_restart,
        swarm_place=0,
    ),
    FaultKind(
        "stop",
        "workers get a SIGTERM while they run a query; they start again at the end",
        On.WORKERS,
        Lasts.OPTIONAL,
        (Key("busy", duration(0.0, _DAY_S), "how long the query takes from then on", "0s", "busy_s"),),
        effect=machines.stop,
        draw=_one_of("busy_s", 0.0, 5.0, 60.0),
    ),
    FaultKind(
        "wipe",
        "as crash, and disks come back empty",
        On.ANY,
        Lasts.OPTIONAL,
        effect=machines.wipe,
        real=real.wipe,
        registry=Registry.WIPED,
        goal=Goal("disk-wiped", on_control_plane=True),
        swarm_place=2,
    ),
    FaultKind(
        "stale-disk",
        "the registry is backed up; at the end the control plane crashes and starts from the backup",
        On.CONTROL_PLANE,
        Lasts.NEEDED,
        effect=machines.stale_disk,
        registry=Registry.RESTORED,
        goal=Goal("disk-restored", at_end=True),
        swarm_place=4,
    ),
    FaultKind(
        "duplicate-id",
        "another installation takes each worker's place and wants another worker's id",
        On.WORKERS,
        Lasts.MOMENT,
        (Key("of", worker(), "the worker whose id is wanted"),),
        effect=machines.duplicate_id,
        real=real.duplicate_id,
        draw=_any_worker,
    ),
    FaultKind(
        "move",
        "workers get another address",
        On.WORKERS,
        Lasts.MOMENT,
        effect=machines.move,
    ),
    FaultKind(
        "pause",
        "programs are stopped, as by SIGSTOP, and go on at the end",
        On.ANY,
        Lasts.NEEDED,
        effect=machines.pause,
        real=real.pause,
        synchronizes=True,
        goal=Goal("control-plane-paused", on_control_plane=True),
        swarm_place=1,
    ),
    FaultKind(
        "disk-failure",
        "the control plane's writes fail; where it ends, it is started again until they succeed",
        On.CONTROL_PLANE,
        Lasts.NEEDED,
        effect=machines.disk_failure,
        swarm_place=5,
    ),
    FaultKind(
        "slow-server",
        "each call takes more of the control plane's processor",
        On.CONTROL_PLANE,
        Lasts.NEEDED,
        (
            Key("low", duration(0.0, _MOST_DELAY_S), "how much more, at least", "10ms", "low_s"),
            Key("high", duration(0.0, _MOST_DELAY_S), "how much more, at most", "50ms", "high_s"),
        ),
        main="low",
        effect=machines.slow_server,
        synchronizes=True,
        draw=_range_to(0.001, 0.01, 0.1),
        swarm_place=6,
    ),
    FaultKind(
        "clock-drift",
        "clocks run fast or slow",
        On.ANY,
        Lasts.NEEDED,
        (Key("rate", number(0.1, 10.0), "how many of their seconds pass in a true one", 1.01),),
        main="rate",
        effect=machines.clock_drift,
        goal=Goal("clock-drifted"),
        draw=_one_of("rate", 0.95, 0.999, 1.001, 1.05),
        swarm_place=8,
    ),
    FaultKind(
        "clock-step",
        "wall clocks are set, and set right again at the end",
        On.ANY,
        Lasts.NEEDED,
        (Key("by", offset(3650 * _DAY_S), "how far; a negative duration is back", "-1h", "by_s"),),
        main="by",
        effect=machines.clock_step,
        goal=Goal("clock-stepped"),
        draw=_one_of("by_s", -86_400.0, -60.0, 0.3, 60.0, 86_400.0),
        swarm_place=7,
    ),
)
_OPERATORS = (
    FaultKind(
        "cordon",
        "an operator cordons workers, and uncordons them at the end",
        On.WORKERS,
        Lasts.NEEDED,
        effect=operators.cordon,
    ),
    FaultKind(
        "drain",
        "an operator drains workers; at the end those that have not left stay, and the others start anew",
        On.WORKERS,
        Lasts.NEEDED,
        effect=operators.drain,
    ),
    FaultKind(
        "remove",
        "an operator strikes workers off, and so has them register again",
        On.WORKERS,
        Lasts.MOMENT,
        effect=operators.remove,
        real=real.remove,
        strikes_off=True,
    ),
)
# A scenario may have these; in a schedule they have become the faults above.
_PATTERNS = (
    FaultKind(
        "one-way-partition",
        "as partition, of one direction",
        On.ANY,
        Lasts.NEEDED,
        (Key("direction", choice("to-server", "to-client"), _DIRECTION.meaning, "to-server"),),
        pattern=Pattern(patterns.one_way),
    ),
    FaultKind(
        "swizzle",
        "links are held one by one in one order, and released one by one in another",
        On.ANY,
        Lasts.NEEDED,
        pattern=Pattern(patterns.swizzle),
    ),
    FaultKind(
        "flapping-link",
        "links are cut and whole, over and over, each to a beat of its own",
        On.ANY,
        Lasts.NEEDED,
        (
            Key("down", duration(0.1, YEAR_S), "how long a link is cut", "20s", "down_s"),
            Key("up", duration(0.1, YEAR_S), "how long it is whole, give or take half", "20s", "up_s"),
        ),
        pattern=Pattern(patterns.flapping, patterns.flaps),
    ),
    FaultKind(
        "rolling-restart",
        "programs crash and start again, one after the other",
        On.ANY,
        Lasts.NEEDED,
        (Key("down", duration(), "how long each is down", "5s", "down_s"),),
        pattern=Pattern(patterns.rolling_restart),
    ),
)

_ALL = (*_LINKS, *_MACHINES, *_OPERATORS, *_PATTERNS)
KINDS: dict[str, FaultKind] = {kind.name: kind for kind in _ALL}
assert len(KINDS) == len(_ALL), "each kind has a name of its own"

# The kinds that schedules have.
SIMULATED = {name: kind for name, kind in KINDS.items() if kind.effect is not None}
# The kinds that --target has.
REAL = {kind.name: kind.real for kind in (*_MACHINES, *_LINKS, *_OPERATORS) if kind.real is not None}
