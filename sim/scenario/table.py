"""Every key that a scenario may have outside the options of its faults: name, values, default and meaning.

The checks of scenarios, schedules and `--fault`, and docs/scenarios.md are made from this table and from that
of the kinds of faults (DESIGN 58).

Always holds: a default passes the check of its own key (tests/sim/test_scenario_table.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.cluster.topology import CONTROL_PLANE
from sim.options.key import Key
from sim.options.values import duration, name, names, number, pair, span, text, whole
from sim.verdict.goals import GOALS

MOST_FAULTS = 100_000  # of one schedule
_DAY_S = 86_400.0

TOP = (
    Key("name", name(), "what reports and file names call it"),
    Key("summary", text(), "what it is about, in a sentence, for --list"),
    Key(
        "probes",
        names("list of probes", len(GOALS), known=lambda: tuple(GOALS)),
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

# The keys that every fault has.
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

# The forms in which a fault's target is written.
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
