"""Reads the keys of one table of a scenario, and refuses a wrong one with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from minicloud.core.errors import MiniCloudError
from sim.cluster.topology import CONTROL_PLANE
from sim.faults.kind import FaultKind, Lasts, On
from sim.faults.kinds import KINDS
from sim.faults.schedule import Options
from sim.options.key import REQUIRED, Key
from sim.options.values import shown, suggestion
from sim.scenario.lines import Lines, Path
from sim.scenario.table import FAULT


class ScenarioError(MiniCloudError):
    """A scenario cannot be read, or contradicts itself."""


class Place(Protocol):
    """The place of a table or a flag, for error messages."""

    def refuse(self, key: str, problem: str) -> ScenarioError:
        """The error that names the place of `key`, or that of the whole if `key` is empty or not given
        there."""
        ...


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A table in a file."""

    lines: Lines
    path: Path = ()

    def refuse(self, key: str, problem: str) -> ScenarioError:
        line = self.lines.of((*self.path, key) if key else self.path)
        return ScenarioError(f"{self.lines.source}:{line}: {problem}")


@dataclass(frozen=True, slots=True)
class FlagPlace:
    """A flag of the command line, with its value."""

    flag: str

    def refuse(self, key: str, problem: str) -> ScenarioError:
        return ScenarioError(f"{self.flag}: {problem}")


@dataclass(frozen=True, slots=True)
class FaultSection:
    """One fault of a scenario, or several alike. `at_s` and `lasts_s` are the least and the most."""

    kind: FaultKind
    target: str
    at_s: tuple[float, float]
    lasts_s: tuple[float, float]
    times: int
    every_s: float | None
    options: Options
    place: Place


def read_keys(keys: Sequence[Key], given: Mapping[str, object], place: Place, title: str) -> dict[str, Any]:
    """The values of `given` by their names in the code, with defaults for the rest.

    `title` names the place in an error. Raises `ScenarioError` for the first wrong key.
    """
    known = {key.name: key for key in keys}
    found: dict[str, Any] = {}
    for name, value in given.items():
        key = known.get(name)
        if key is None:
            hint = suggestion(name, list(known)) if known else "it has none"
            raise place.refuse(name, f"{title}: no key {shown(name)}: {hint}")
        try:
            found[key.code_name] = key.kind.read(value)
        except ValueError as problem:
            raise place.refuse(name, f"{title}: {name} = {shown(value)} {problem}") from None
    for key in keys:
        if key.code_name not in found:
            if key.default is REQUIRED:
                raise place.refuse("", f"{title}: {key.name} is missing: add {key.name} ({key.kind.shown})")
            found[key.code_name] = None if key.default is None else key.default_value
    return found


def read_fault(given: Mapping[str, object], place: Place) -> FaultSection:
    """The fault that `given` describes. Raises `ScenarioError`."""
    name = given.get("kind")
    if name is None:
        raise place.refuse("", "faults: kind is missing: add one, as in kind = 'crash'")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        hint = suggestion(str(name), list(KINDS))
        raise place.refuse("kind", f"faults: kind = {shown(name)} is no kind of fault: {hint}")
    found = read_keys((*FAULT, *kind.options), given, place, kind.name)
    section = FaultSection(
        kind,
        found["target"] if "target" in given else default_target(kind),
        found["at"],
        found["lasts"],
        found["times"],
        found["every_s"],
        {key.code_name: found[key.code_name] for name in given for key in kind.options if key.name == name},
        place,
    )
    _check(section, given)
    return section


def default_target(kind: FaultKind) -> str:
    """The target of a fault of that kind that names none."""
    return CONTROL_PLANE if kind.on is On.CONTROL_PLANE else "all"


def _check(section: FaultSection, given: Mapping[str, object]) -> None:
    """Refuse keys that contradict each other."""
    kind, place = section.kind, section.place
    least_s, most_s = section.lasts_s
    if kind.lasts is Lasts.MOMENT and most_s > 0:
        raise place.refuse("for", f"{kind.name}: happens in a moment: leave 'for' out")
    if kind.lasts is Lasts.NEEDED and least_s <= 0:
        raise place.refuse("for", f"{kind.name}: has to last: give it a length, as in for = '5m'")
    if section.every_s is not None and "times" in given:
        raise place.refuse("times", f"{kind.name}: has 'times' and 'every': leave one out")
    options = section.options
    for low, high in (("low_s", "high_s"), ("high_s", "tail_s")):
        if any(key.code_name == high for key in kind.options) and (high in options or low in options):
            _check_order(section, low, high)


def _check_order(section: FaultSection, low: str, high: str) -> None:
    """Refuse a range that ends before it begins, also by its defaults."""
    kind = section.kind
    if high == "tail_s" and not section.options.get("tail"):
        return
    first, last = kind.option(low), kind.option(high)
    least = section.options.get(low, first.default_value)
    most = section.options.get(high, last.default_value)
    assert isinstance(least, float)
    assert isinstance(most, float)
    if least > most:
        raise section.place.refuse(
            last.name,
            f"{kind.name}: {last.name} is {last.kind.write(most)} and {first.name} is "
            f"{first.kind.write(least)}: give {last.name} at least that",
        )
