"""Makes docs/scenarios.md, which `--show format` prints, from the tables by which scenarios are checked
(DESIGN 58)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sim.faults.kind import FaultKind, Lasts
from sim.faults.kinds import KINDS
from sim.options.key import REQUIRED, Key
from sim.scenario.scenario import builtin
from sim.scenario.table import (
    FAULT,
    PHASES,
    SELECTORS,
    TIMERS,
    TOP,
    TOPOLOGY,
)
from sim.verdict.goals import GOALS, MESSAGES_ALONE

_EXAMPLE = "one-way-partition"

_HEAD = (
    "# Scenarios\n\n"
    "A scenario describes what may go wrong in runs of `minicloud-sim`. It is a TOML file; "
    "`minicloud-sim --scenario FILE` runs it, with `--seed N` for all that is drawn. `minicloud-sim --list` "
    "names the scenarios that come with the simulator, and `minicloud-sim --show NAME` prints one, to start "
    "from. This one is `{name}`:\n\n"
    "```toml\n{example}```\n\n"
    "A run has three phases: `setup`, in which the cluster forms; `chaos`, in which faults begin and end; "
    "`check`, in which it comes to rest before everything is looked at once more. A key that is unknown, or "
    "a value that is not right, is refused with its file and line.\n\n"
    'Durations are a number and a unit in quotes: `"500ms"`, `"30s"`, `"2m"`, `"1.5h"`, `"7d"`. Shares are a '
    'percentage in quotes, `"5%"`, or a number from 0 to 1.\n'
)
_FLAGS = (
    "`--fault KIND=VALUE[,KEY=VALUE...]` adds a fault to a scenario, with the same keys and options without "
    "quotes: `--fault loss=5%`, `--fault delay=50ms..500ms,for=1m`, `--fault crash=random:10%,at=1m,for=5m`. "
    "The first value is the option that matters most ({mains}), or else the target. Unless `for` is given, "
    "{conditions} last as long as the chaos, and others one and a half heartbeat timeouts.\n"
)
_SCHEDULES = (
    "## Schedules\n\n"
    "`--report DIR` and `--shrink` write schedules: what a scenario and a seed became, in JSON, with nothing "
    "left to draw. `--replay FILE` runs one. It has the same options as above; those that are durations are "
    "numbers of seconds there and end in `_s` (`low` is `low_s`, `tail-high` is `tail_s`), shares are "
    "numbers from 0 to 1, and nodes are named one by one. It is checked as scenarios are.\n"
)


def document() -> str:
    """The document, in Markdown."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD.format(name=_EXAMPLE, example=builtin(_EXAMPLE))
    yield from _section("## The scenario", "At the top of the file.", TOP)
    yield from _section("## `[topology]`", "The machines, and the network between them.", TOPOLOGY)
    yield from _section("## `[timers]`", "The settings of the control plane.", TIMERS)
    yield from _section("## `[phases]`", "How long each phase is.", PHASES)
    yield from _section("## `[[faults]]`", "One table for each fault, or for several alike.", FAULT)
    yield "### Targets\n"
    yield "`random` draws anew for each time that the fault happens.\n"
    yield from _table(("target", "nodes"), ((f"`{form}`", meaning) for form, meaning in SELECTORS))
    yield "### Kinds\n"
    yield from _table(
        ("kind", "what happens", "on", "`for`"),
        ((f"`{kind.name}`", kind.meaning, kind.on.value, _lasts(kind)) for kind in KINDS.values()),
    )
    yield "### Options\n"
    yield "Beside the keys that all faults have.\n"
    yield from _table(
        ("kind", "option", "value", "default", "meaning"),
        ((f"`{kind.name}`", *_row(option)) for kind in KINDS.values() for option in kind.options),
    )
    yield "### On the command line\n"
    yield _FLAGS.format(mains=_mains(), conditions=_conditions())
    yield "## Probes\n"
    yield from _table(
        ("probe", "what has happened"),
        (
            (f"`{name}`", f"{text} (`--depth messages` alone)" if name in MESSAGES_ALONE else text)
            for name, text in GOALS.items()
        ),
    )
    yield _SCHEDULES


def _section(title: str, about: str, keys: Sequence[Key]) -> Iterator[str]:
    yield f"{title}\n"
    yield f"{about}\n"
    yield from _table(("key", "value", "default", "meaning"), (_row(key) for key in keys))


def _row(key: Key) -> tuple[str, ...]:
    if key.default is REQUIRED:
        default = "required"
    elif key.default is None:
        default = ""
    else:
        default = f"`{json.dumps(key.default)}`"
    return f"`{key.name}`", key.kind.shown, default, key.meaning


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _lasts(kind: FaultKind) -> str:
    return "required" if kind.lasts is Lasts.NEEDED else kind.lasts.value


def _mains() -> str:
    mains: dict[str, list[str]] = {}
    for kind in KINDS.values():
        if kind.main:
            mains.setdefault(kind.main, []).append(kind.name)
    shown = {"low": "the range of `low` and `high`"}
    return "; ".join(f"{shown.get(main, f'`{main}`')} of {', '.join(kinds)}" for main, kinds in mains.items())


def _conditions() -> str:
    *names, last = (kind.name for kind in KINDS.values() if kind.condition)
    return f"{', '.join(names)} and {last}"
