"""The description of one kind of fault: `FaultKind` has a field for each thing that a module asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from random import Random
from typing import Any

from sim.faults.effect import Effect
from sim.faults.real import RealEffect
from sim.faults.schedule import Fault, Options
from sim.options.key import REQUIRED, Key

# The options that the swarm draws for a fault of a kind, given its target and the number of workers.
Draw = Callable[[str, int, Random], Options]


def no_options(target: str, workers: int, random: Random) -> Options:
    """Draw nothing: every option has its default."""
    return {}


class On(StrEnum):
    """The nodes that a fault can be on."""

    ANY = "workers or the control plane"
    WORKERS = "workers"
    CONTROL_PLANE = "the control plane"


class Lasts(StrEnum):
    """The length of a fault: it needs `for`, may have it, or happens in a moment and takes none."""

    NEEDED = "needed"
    OPTIONAL = "optional"
    MOMENT = "none: it happens in a moment"


class Registry(Enum):
    """The effect of a fault on the disk of the control plane, which decides what has to be durable."""

    KEPT = 0
    WIPED = 1  # when the fault begins
    RESTORED = 2  # when it ends, from a copy made when it began


@dataclass(frozen=True, slots=True)
class Goal:
    """The coverage goal that a kind of fault reaches when it begins, or when it ends if `at_end` is set."""

    name: str
    on_control_plane: bool = False  # reached only by a fault on the control plane
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind that stands for other faults. `expand` makes them of one fault that has all options.

    `count` is an upper bound of their number, for patterns that may make many of one node.
    """

    expand: Callable[[Fault, Random], list[Fault]]
    count: Callable[[Fault], float] = lambda fault: 0.0


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault: it has either an `effect` in the simulator or a `pattern`.

    `main` is the option that a bare value of `--fault KIND=VALUE` sets: empty for the target, `low` for a
    range of `low..high`. `real` does it to real workers with --target. `lingers`: it leaves messages under
    way. `synchronizes`: it makes many workers act at the same moment. `strikes_off`: it removes workers as
    an operator does. `swarm_place` is the position among the kinds that the swarm draws for the control
    plane: a seed stands for a schedule only as long as it stays.
    """

    name: str
    meaning: str
    on: On
    lasts: Lasts
    options: tuple[Key, ...] = ()
    main: str = ""
    effect: Effect | None = None
    pattern: Pattern | None = None
    real: RealEffect | None = None
    lingers: bool = False
    synchronizes: bool = False
    strikes_off: bool = False
    registry: Registry = Registry.KEPT
    goal: Goal | None = None
    draw: Draw = no_options
    swarm_place: int | None = None

    def __post_init__(self) -> None:
        assert (self.effect is None) is not (self.pattern is None), f"{self.name}: an effect or a pattern"
        assert self.real is None or self.on is not On.CONTROL_PLANE, (
            f"{self.name}: real faults are on workers"
        )

    def option(self, code_name: str) -> Key:
        """The option that schedules have under that name. Raises `KeyError`."""
        for key in self.options:
            if key.code_name == code_name:
                return key
        raise KeyError(code_name)

    def complete(self, fault: Fault) -> Fault:
        """`fault` with the default of each option that it leaves out."""
        defaults: dict[str, Any] = {
            key.code_name: key.default_value for key in self.options if key.default is not REQUIRED
        }
        return replace(fault, options={**defaults, **fault.options})

    @property
    def condition(self) -> bool:
        """True for a kind that makes calls worse instead of breaking something; `--fault` has it last as
        long as the chaos."""
        return self.main in ("probability", "low")
