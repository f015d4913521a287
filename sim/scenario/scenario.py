"""A scenario: what may go wrong, as people write it, in TOML.

`expand` makes a `Schedule` of it, with a seed: every random time and every random node is drawn there.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec

from minicloud.config.durations import parse_duration_s
from minicloud.core.errors import MiniCloudError


class ScenarioError(MiniCloudError):
    """A scenario that cannot be read, or makes no sense."""


class TopologySection(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """What there is; see `sim.cluster.cluster.Topology`. However short `ramp`, 2,000 start a second."""

    workers: int = 50
    zones: tuple[str, ...] = ("a", "b", "c")
    duplicates: int = 0
    ramp: str = "5s"
    clock_offset: str = "2h"
    clock_drift: float = 0.0
    delay: tuple[str, str] = ("0.2ms", "2ms")
    service_time: tuple[str, str] = ("0.05ms", "0.2ms")


class TimersSection(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """What the control plane is configured with."""

    heartbeat_interval: str = "30s"
    heartbeat_timeout: str = "2m"
    retention: str = "24h"


class PhasesSection(msgspec.Struct, forbid_unknown_fields=True):
    """How long the cluster has to form, is troubled, and has to come to rest before the last check."""

    setup: str = "2m"
    chaos: str = "10m"
    check: str = "5m"


class FaultSection(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """One fault, or several alike.

    `at` is counted from the beginning of the chaos; a pair is a range to draw from. `times` is how often,
    each with a moment and nodes of its own; with `every`, at that distance instead, for as long as the
    chaos lasts. What is not named here is in `options`.
    """

    kind: str
    target: str = "all"
    at: str | tuple[str, str] = "0s"
    lasts: str | tuple[str, str] = "0s"
    times: int = 1
    every: str = ""
    options: dict[str, float | str] = {}


class Scenario(msgspec.Struct, forbid_unknown_fields=True):
    """One scenario. `probes` are what must have happened for a run to have shown anything."""

    name: str
    summary: str
    topology: TopologySection = msgspec.field(default_factory=TopologySection)
    timers: TimersSection = msgspec.field(default_factory=TimersSection)
    phases: PhasesSection = msgspec.field(default_factory=PhasesSection)
    faults: tuple[FaultSection, ...] = ()
    probes: tuple[str, ...] = ()


def seconds(text: str, flag: str = "") -> float:
    """A duration such as 0.2ms, 1.5s, 2m or 24h, in seconds. Raises `ScenarioError`, which names the `flag`
    it came from, if it came from one."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise ScenarioError(f"{flag} {text!r} {error}".lstrip()) from None


def option(name: str, value: object) -> tuple[str, float | str]:
    """An option of a fault, by the name and in the unit that effects know: `low = "50ms"` is `low_s`, 0.05;
    a percentage is a fraction. Raises `ScenarioError`."""
    if isinstance(value, int | float):
        return name, float(value)
    if not isinstance(value, str):
        raise ScenarioError(f"{name} is {value!r}: use a number, a duration or a word")
    if value.endswith("%"):
        try:
            return name, float(value[:-1]) / 100
        except ValueError:
            raise ScenarioError(f"{name}: {value!r} is no percentage") from None
    sign = -1 if value.startswith("-") else 1
    try:
        return f"{name}_s", sign * parse_duration_s(value.removeprefix("-"))
    except ValueError:
        return name, value


def builtin_names() -> list[str]:
    """The scenarios that come with the simulator, but for `swarm`, which is made anew from each seed."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in _builtins().iterdir() if entry.name.endswith(".toml")
    )


def load(name: str) -> Scenario:
    """The built-in scenario of that name, or the one in the file of that name. Raises `ScenarioError`."""
    if name in builtin_names():
        return parse((_builtins() / f"{name}.toml").read_text("utf-8"), name)
    path = Path(name)
    if not path.is_file():
        known = ", ".join([*builtin_names(), "swarm"])
        raise ScenarioError(f"no scenario {name!r}: name a TOML file, or one of {known}")
    try:
        return parse(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name}: {error}") from None


def parse(text: str, source: str) -> Scenario:
    """The scenario in `text`; `source` is named in errors. Raises `ScenarioError`."""
    try:
        return msgspec.convert(_with_options(tomllib.loads(text)), Scenario)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{source}: {error}") from None


def _with_options(document: dict[str, Any]) -> dict[str, Any]:
    """Gather what faults say beyond the keys all of them have; `for`, a keyword in Python, is `lasts`."""
    faults = document.get("faults")
    for fault in faults if isinstance(faults, list) else ():  # what else it may be, msgspec refuses
        if isinstance(fault, dict):
            if "for" in fault:
                fault["lasts"] = fault.pop("for")
            own = [key for key in fault if key not in FaultSection.__struct_encode_fields__]
            fault["options"] = dict(option(key, fault.pop(key)) for key in own)
    return document


def _builtins() -> Traversable:
    return files("sim.scenario") / "builtin"
