"""Faults from the command line: `--fault KIND=VALUE[,KEY=VALUE...]`.

The value is that of the kind's main option: a probability, a range, a rate. For other kinds it is the target.
"""

from __future__ import annotations

import re

from minicloud.config.durations import format_duration
from sim.faults.kind import FaultKind, Lasts
from sim.faults.kinds import KINDS
from sim.options.values import duration, suggestion
from sim.scenario.reading import FaultSection, FlagPlace, default_target, read_fault
from sim.scenario.scenario import Scenario

HELP = (
    "add a fault: loss=5%%, delay=50ms..500ms, clock-drift=1.05, crash=random:10%%, partition=zone:a; "
    "more with commas: crash=control-plane,at=1m,for=5m (kinds and their options: --list)"
)


def fault_from_flag(text: str, scenario: Scenario) -> FaultSection:
    """The fault that `text` describes.

    Unless it names others, it is on all nodes that it can be on, from the beginning. A condition lasts as
    long as the chaos, any other fault one and a half heartbeat timeouts. Raises `ScenarioError`.
    """
    place = FlagPlace(f"--fault {text}")
    name, equals, rest = text.partition("=")
    kind = KINDS.get(name)
    if kind is None:
        raise place.refuse("", f"no fault {name!r}: {suggestion(name, list(KINDS))}")
    if not equals or not rest:
        raise place.refuse("", "give a value, as in loss=5% or crash=random:10%")
    value, *pairs = re.split(r",(?=[a-z-]+=)", rest)
    given: dict[str, object] = {"kind": name}
    if kind.main == "low":
        low, dots, high = value.partition("..")
        given |= {"low": low, "high": high if dots else low}
    else:
        given[kind.main or "target"] = value
    for pair in pairs:
        key, _, each = pair.partition("=")
        if key in given:
            raise place.refuse("", f"has {key!r} twice: leave one out")
        given[key] = each
    given.setdefault("target", default_target(kind))
    if "for" not in given and kind.lasts is not Lasts.MOMENT:
        given["for"] = _default_length(kind, given, scenario, place)
    return read_fault({key: _typed(key, each) for key, each in given.items()}, place)


def _default_length(kind: FaultKind, given: dict[str, object], scenario: Scenario, place: FlagPlace) -> str:
    try:
        at_s = duration().read(given.get("at", "0s"))
    except ValueError as problem:
        raise place.refuse("at", f"at = {given['at']!r} {problem}") from None
    left_s = scenario.phases.chaos_s - at_s
    if left_s <= 0:
        raise place.refuse("at", f"begins after the chaos, which lasts {scenario.phases.chaos_s:g} s")
    if kind.condition:
        return format_duration(left_s)
    return format_duration(min(left_s, 1.5 * scenario.topology.timers.heartbeat_timeout_s))


def _typed(key: str, value: object) -> object:
    """A value of the command line as TOML would have it: numbers are numbers."""
    if not isinstance(value, str) or key in ("kind", "target"):
        return value
    if re.fullmatch(r"[+-]?[0-9]{1,18}", value, re.ASCII):
        return int(value)
    try:
        return float(value)
    except ValueError:
        return value
