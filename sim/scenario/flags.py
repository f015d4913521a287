"""Faults from the command line: `--fault KIND=VALUE[,KEY=VALUE...]`.

The value is what matters most of the kind: a probability, a range, a rate; for all others whom it is on.
"""

from __future__ import annotations

import re

from minicloud.config.durations import format_duration
from sim.faults import ENDLESS
from sim.scenario.expand import KINDS
from sim.scenario.scenario import FaultSection, Scenario, ScenarioError, option, seconds

# What the bare value of these kinds is; that of all others is the target.
_MAIN = {
    "loss": "probability",
    "duplication": "probability",
    "reordering": "probability",
    "delay": "range",
    "slow-server": "range",
    "clock-drift": "rate",
    "clock-step": "by",
}
_ON_CONTROL_PLANE = ("slow-server", "stale-disk", "disk-failure")
_CONDITIONS = ("loss", "duplication", "reordering", "delay", "slow-server")

HELP = (
    "add a fault: loss=5%%, delay=50ms..500ms, clock-drift=1.05, crash=random:10%%, partition=zone:a; "
    "more with commas: crash=control-plane,at=1m,for=5m"
)


def fault_from_flag(text: str, scenario: Scenario) -> FaultSection:
    """The fault that `text` says. Unless told otherwise it is on everybody, from the beginning; a condition
    lasts as long as the chaos, anything else one and a half heartbeat timeouts. Raises `ScenarioError`.
    """
    kind, equals, rest = text.partition("=")
    if kind not in KINDS:
        raise ScenarioError(f"--fault {text}: no fault {kind!r}: there are {', '.join(KINDS)}")
    if not equals or not rest:
        raise ScenarioError(f"--fault {text}: give a value, as in loss=5% or crash=random:10%")
    value, *pairs = re.split(r",(?=[a-z-]+=)", rest)
    options = dict(pair.split("=", 1) for pair in pairs)
    target = options.pop("target", "control-plane" if kind in _ON_CONTROL_PLANE else "all")
    main = _MAIN.get(kind)
    if main == "range":
        options["low"], _, high = value.partition("..")
        options["high"] = high or value
    elif main is not None:
        options[main] = value
    else:
        target = value
    at = options.pop("at", "0s")
    lasts = options.pop("for", "")
    if not lasts:
        lasts = _default_length(kind, at, scenario)
    return FaultSection(
        kind, target, at, lasts, options=dict(option(key, _typed(each)) for key, each in options.items())
    )


def _default_length(kind: str, at: str, scenario: Scenario) -> str:
    if kind in ENDLESS:
        return "0s"
    left_s = seconds(scenario.phases.chaos) - seconds(at)
    if kind in _CONDITIONS:
        return format_duration(left_s)
    return format_duration(min(left_s, 1.5 * seconds(scenario.timers.heartbeat_timeout)))


def _typed(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
