"""A scenario: the faults that may happen in a run, as people write them, in TOML.

`expand` makes a `Schedule` of it, with a seed: every random time and every random node is drawn there.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from minicloud.core.liveness.policy import LivenessPolicy
from sim.cluster.topology import Topology
from sim.faults.schedule import Phases
from sim.net.network import Delay
from sim.options.key import Key
from sim.options.values import duration, shown, suggestion
from sim.scenario.lines import Lines, place_of
from sim.scenario.reading import FaultSection, FilePlace, Place, ScenarioError, read_fault, read_keys
from sim.scenario.table import PHASES, TIMERS, TOP, TOPOLOGY

_MOST_BYTES = 500_000
_TABLES = {"topology": TOPOLOGY, "timers": TIMERS, "phases": PHASES}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario. `goals` are its coverage goals; `place` is that of its topology, for error messages."""

    name: str
    summary: str
    topology: Topology
    phases: Phases
    faults: tuple[FaultSection, ...]
    goals: tuple[str, ...]
    place: Place


def seconds(text: str, flag: str) -> float:
    """The duration that a flag of the command line has, in seconds. Raises `ScenarioError`."""
    try:
        return float(duration().read(text))
    except ValueError as error:
        raise ScenarioError(f"{flag} {text!r} {error}") from None


def builtin_names() -> list[str]:
    """The names of the scenarios that come with the simulator, except `swarm`, which each seed makes anew."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in _builtins().iterdir() if entry.name.endswith(".toml")
    )


def builtin(name: str) -> str:
    """The text of the built-in scenario of that name."""
    return (_builtins() / f"{name}.toml").read_text(encoding="utf-8")


def load(name: str) -> Scenario:
    """The built-in scenario of that name, or the one in the file of that name. Raises `ScenarioError`."""
    if name in builtin_names():
        return parse(builtin(name), name)
    path = Path(name)
    if not path.is_file():
        known = [*builtin_names(), "swarm"]
        hint = suggestion(name, known)
        raise ScenarioError(f"no scenario {name!r}: {hint} A scenario of your own is a TOML file.")
    try:
        data = path.read_bytes()
        if len(data) > _MOST_BYTES:
            raise ScenarioError(f"{name}: has {len(data)} bytes: a scenario has at most {_MOST_BYTES}")
        return parse(data.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ScenarioError(f"{name}:{line}: is not UTF-8: save the file as UTF-8") from None
    except OSError as error:
        raise ScenarioError(f"{name}: {error.strerror or error}: name a file that can be read") from None


def parse(text: str, source: str) -> Scenario:
    """The scenario in `text`; `source` is named in errors. Raises `ScenarioError`."""
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one, and so is what int() raises for too many digits
        line, problem = place_of(error, text)
        raise ScenarioError(f"{source}:{line}: is not TOML: {problem}") from None
    except RecursionError:
        raise ScenarioError(f"{source}: is not a scenario: its values are nested too deeply") from None
    lines = Lines(source, text)
    return _scenario(document, lines)


def _scenario(document: dict[str, Any], lines: Lines) -> Scenario:
    top = FilePlace(lines)
    tables: dict[str, dict[str, Any]] = {}
    faults: list[FaultSection] = []
    head: dict[str, Any] = {}
    for name, value in document.items():
        if name in _TABLES:
            if not isinstance(value, dict):
                raise top.refuse(
                    name, f"{name} = {shown(value)} is not a table: write [{name}] above its keys"
                )
            tables[name] = read_keys(_TABLES[name], value, FilePlace(lines, (name,)), name)
        elif name == "faults":
            faults = _faults(value, lines)
        else:
            head[name] = value
    known = [*(key.name for key in TOP), *_TABLES, "faults"]
    for name in head:
        if name not in known:
            raise top.refuse(name, f"scenario: no key {shown(name)}: {suggestion(name, known)}")
    found = read_keys(TOP, head, top, "scenario")
    timers = LivenessPolicy(**_table(tables, "timers", TIMERS))
    place = FilePlace(lines, ("timers",))
    if timers.heartbeat_timeout_s < 2 * timers.heartbeat_interval_s:
        raise place.refuse(
            "heartbeat-timeout", "timers: heartbeat-timeout is less than twice heartbeat-interval: raise it"
        )
    topology = _table(tables, "topology", TOPOLOGY)
    for name in ("delay", "service_time"):
        topology[name] = Delay(*topology[name])
    return Scenario(
        found["name"],
        found["summary"],
        Topology(**topology, timers=timers),
        Phases(**_table(tables, "phases", PHASES)),
        tuple(faults),
        found["probes"],
        FilePlace(lines, ("topology",)),
    )


def _faults(value: object, lines: Lines) -> list[FaultSection]:
    if not isinstance(value, list):
        problem = f"faults = {shown(value)} is not a list of tables: write [[faults]] above the keys of each"
        raise FilePlace(lines).refuse("faults", problem)
    faults = []
    for number, fault in enumerate(value):
        place = FilePlace(lines, ("faults", number))
        if not isinstance(fault, dict):
            raise place.refuse("", f"faults: {shown(fault)} is not a table: write [[faults]] above its keys")
        faults.append(read_fault(fault, place))
    return faults


def _table(tables: dict[str, dict[str, Any]], name: str, keys: tuple[Key, ...]) -> dict[str, Any]:
    return tables.get(name) or {key.code_name: key.default_value for key in keys}


def _builtins() -> Traversable:
    return files("sim.scenario") / "builtin"
