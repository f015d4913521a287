"""Every key that a scenario may have, and every kind of fault: name, values, default and meaning.

The checks of scenarios, schedules and `--fault`, `--list`, and docs/scenarios.md are made from this table.

Always holds: a default is right by its own kind, and each kind of fault has an effect or a pattern
(tests/sim/test_scenario_table.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sim.options.values import (
    YEAR_S,
    Kind,
    choice,
    duration,
    name,
    names,
    number,
    offset,
    pair,
    share,
    span,
    text,
    whole,
    worker,
)
from sim.verdict.goals import PROBES

CONTROL_PLANE = "control-plane"
MOST_FAULTS = 100_000  # that one schedule has
_DAY_S = 86_400.0

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` is written as in a file; `field` is its name in the code and in schedules, where
    that has a unit or Python forbids the other."""

    name: str
    kind: Kind
    meaning: str
    default: object = REQUIRED
    field: str = ""

    @property
    def code_name(self) -> str:
        return self.field or self.name.replace("-", "_")

    @property
    def default_value(self) -> object:
        """The default as the code uses it."""
        return self.kind.read(self.default)


class On(StrEnum):
    """Which nodes a fault can be on."""

    ANY = "workers or the control plane"
    WORKERS = "workers"
    CONTROL_PLANE = "the control plane"


class Lasts(StrEnum):
    """How long a fault is there: it needs `for`, may have it, or happens in a moment and takes none."""

    NEEDED = "needed"
    OPTIONAL = "optional"
    MOMENT = "none: it happens in a moment"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault. `main` is the option that a bare value of `--fault KIND=VALUE` sets: empty for the
    target, `low` for a range of `low..high`."""

    name: str
    meaning: str
    on: On
    lasts: Lasts
    options: tuple[Key, ...] = ()
    main: str = ""

    def option(self, code_name: str) -> Key:
        """The option that schedules have under that name. Raises `KeyError`."""
        for key in self.options:
            if key.code_name == code_name:
                return key
        raise KeyError(code_name)

    @property
    def condition(self) -> bool:
        """It makes calls worse instead of breaking something: by `--fault` it lasts as long as the chaos."""
        return self.main in ("probability", "low")


TOP = (
    Key("name", name(), "what reports and file names call it"),
    Key("summary", text(), "what it is about, in a sentence, for --list"),
    Key(
        "probes",
        names("list of probes", len(PROBES), known=lambda: tuple(PROBES)),
        "what must have happened for a run to have shown anything; otherwise it is inconclusive",
        [],
    ),
)

TOPOLOGY = (
    Key("workers", whole(1, 1_000_000), "how many workers there are, unless --workers is given", 50),
    Key(
        "zones",
        names("list of 1 to 100 names", 100, 1),
        "failure domains; worker N is in zone N modulo their number",
        ["a", "b", "c"],
    ),
    Key(
        "duplicates",
        whole(0, 500_000),
        "so many workers, the last ones, want the ids of the first ones; half of the workers at most",
        0,
    ),
    Key(
        "ramp",
        duration(),
        "workers start at moments spread over this time; however short it is, 2,000 start a second",
        "5s",
        "ramp_s",
    ),
    Key(
        "clock-offset",
        duration(),
        "how far apart the machines' monotonic clocks are, at most; wall clocks are wrong by up to 1s",
        "2h",
        "clock_offset_s",
    ),
    Key(
        "clock-drift",
        number(0.0, 0.5),
        "how fast or slow clocks run, at most, as a fraction: 0.0001 is 100 ppm",
        0.0,
    ),
    Key("delay", pair(3600.0), "what a message takes on the network", ["0.2ms", "2ms"]),
    Key(
        "service-time",
        pair(3600.0),
        "what a call takes of the control plane's processor",
        ["0.05ms", "0.2ms"],
    ),
)

TIMERS = (
    Key(
        "heartbeat-interval",
        duration(0.05, 3600.0),
        "how often workers report",
        "30s",
        "heartbeat_interval_s",
    ),
    Key(
        "heartbeat-timeout",
        duration(0.1, _DAY_S),
        "silence after which a worker is UNHEALTHY; at least twice the interval",
        "2m",
        "heartbeat_timeout_s",
    ),
    Key(
        "retention",
        duration(1.0, 3650 * _DAY_S),
        "how long an UNHEALTHY worker is kept before it is forgotten",
        "24h",
        "retention_s",
    ),
)

PHASES = (
    Key("setup", duration(), "how long the cluster has to form", "2m", "setup_s"),
    Key("chaos", duration(), "how long faults happen; the last has ended with it", "10m", "chaos_s"),
    Key(
        "check", duration(), "how long the cluster has to come to rest before the last check", "5m", "check_s"
    ),
)

# Those that every fault has.
FAULT = (
    Key("kind", text(64), "what goes wrong: one of the kinds below"),
    Key(
        "target", text(10_000), "the nodes that it is on; what is on the control plane only needs none", "all"
    ),
    Key("at", span(), "when it begins, counted from the beginning of the chaos", "0s"),
    Key("for", span(), "how long it lasts", "0s", "lasts"),
    Key(
        "times",
        whole(1, 10_000),
        "so many of it, each with a moment, nodes and a length of its own; not beside 'every'",
        1,
    ),
    Key(
        "every",
        duration(0.001),
        "one of it at this distance from 'at' on, for as long as the chaos lasts",
        None,
        "every_s",
    ),
)

_DIRECTION = Key(
    "direction",
    choice("both", "to-server", "to-client"),
    "which messages: those of calls or of answers",
    "both",
)


def _probability(what: str) -> tuple[Key, ...]:
    return _DIRECTION, Key(
        "probability", share(), f"how many messages are {what}; overlapping faults add up", "10%"
    )


_MOST_DELAY_S = 3600.0
_TABLE = (
    FaultKind("partition", "messages are lost, those under way too", On.ANY, Lasts.NEEDED, (_DIRECTION,)),
    FaultKind(
        "hold", "messages wait for the end, and then arrive all at once", On.ANY, Lasts.NEEDED, (_DIRECTION,)
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
        "low",
    ),
    FaultKind(
        "loss", "messages are lost at random", On.ANY, Lasts.NEEDED, _probability("lost"), "probability"
    ),
    FaultKind(
        "duplication", "messages arrive twice", On.ANY, Lasts.NEEDED, _probability("doubled"), "probability"
    ),
    FaultKind(
        "reordering",
        "messages are overtaken by those sent up to 5 s later",
        On.ANY,
        Lasts.NEEDED,
        _probability("overtaken"),
        "probability",
    ),
    FaultKind("reset", "connections break, and calls under way fail on both sides", On.ANY, Lasts.MOMENT),
    FaultKind(
        "crash",
        "machines lose power; they start again, with what their disk kept, at the end",
        On.ANY,
        Lasts.OPTIONAL,
        (Key("restart", choice("at-end", "never"), "whether they start again", "at-end"),),
    ),
    FaultKind(
        "stop",
        "workers get a SIGTERM while they run a query; they start again at the end",
        On.WORKERS,
        Lasts.OPTIONAL,
        (Key("busy", duration(0.0, _DAY_S), "how long the query takes from then on", "0s", "busy_s"),),
    ),
    FaultKind("wipe", "as crash, and disks come back empty", On.ANY, Lasts.OPTIONAL),
    FaultKind(
        "stale-disk",
        "the registry is backed up; at the end the control plane crashes and starts from the backup",
        On.CONTROL_PLANE,
        Lasts.NEEDED,
    ),
    FaultKind(
        "duplicate-id",
        "another installation takes each worker's place and wants another worker's id",
        On.WORKERS,
        Lasts.MOMENT,
        (Key("of", worker(), "the worker whose id is wanted"),),
    ),
    FaultKind("move", "workers get another address", On.WORKERS, Lasts.MOMENT),
    FaultKind("pause", "programs are stopped, as by SIGSTOP, and go on at the end", On.ANY, Lasts.NEEDED),
    FaultKind(
        "disk-failure",
        "the control plane's writes fail; where it ends, it is started again until they succeed",
        On.CONTROL_PLANE,
        Lasts.NEEDED,
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
        "low",
    ),
    FaultKind(
        "clock-drift",
        "clocks run fast or slow",
        On.ANY,
        Lasts.NEEDED,
        (Key("rate", number(0.1, 10.0), "how many of their seconds pass in a true one", 1.01),),
        "rate",
    ),
    FaultKind(
        "clock-step",
        "wall clocks are set, and set right again at the end",
        On.ANY,
        Lasts.NEEDED,
        (Key("by", offset(3650 * _DAY_S), "how far; a negative duration is back", "-1h", "by_s"),),
        "by",
    ),
    FaultKind(
        "cordon", "an operator cordons workers, and uncordons them at the end", On.WORKERS, Lasts.NEEDED
    ),
    FaultKind(
        "drain",
        "an operator drains workers; at the end those that have not left stay, and the others start anew",
        On.WORKERS,
        Lasts.NEEDED,
    ),
    FaultKind(
        "remove", "an operator strikes workers off, and so has them register again", On.WORKERS, Lasts.MOMENT
    ),
    # Patterns: `expand` makes the faults above of these.
    FaultKind(
        "one-way-partition",
        "as partition, of one direction",
        On.ANY,
        Lasts.NEEDED,
        (Key("direction", choice("to-server", "to-client"), _DIRECTION.meaning, "to-server"),),
    ),
    FaultKind(
        "swizzle",
        "links are held one by one in one order, and released one by one in another",
        On.ANY,
        Lasts.NEEDED,
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
    ),
    FaultKind(
        "rolling-restart",
        "programs crash and start again, one after the other",
        On.ANY,
        Lasts.NEEDED,
        (Key("down", duration(), "how long each is down", "5s", "down_s"),),
    ),
)
KINDS: dict[str, FaultKind] = {kind.name: kind for kind in _TABLE}

# How a fault's target is written.
SELECTORS: Sequence[tuple[str, str]] = (
    ("all", "every worker"),
    ("zone:NAME", "the workers of a zone"),
    ("random:10%", "a share of the workers, drawn, at least one"),
    ("random:5", "so many workers, drawn; all where there are no more"),
    ("worker-17", "one worker's machine; numbers start at 0"),
    (CONTROL_PLANE, "the control plane"),
    ("worker-1,zone:a", "several of these"),
)
FORMS = ", ".join(form for form, _ in SELECTORS)


def default_of(kind: str, code_name: str) -> object:
    """The value of a fault's option where a schedule leaves it out."""
    return KINDS[kind].option(code_name).default_value
