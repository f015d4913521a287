"""Everything that can go wrong, by the name scenarios use."""

from __future__ import annotations

from sim.faults.effect import Effect
from sim.faults.links import LINK_EFFECTS
from sim.faults.machines import MACHINE_EFFECTS
from sim.faults.operators import OPERATOR_EFFECTS

EFFECTS: dict[str, Effect] = {**LINK_EFFECTS, **MACHINE_EFFECTS, **OPERATOR_EFFECTS}

_DIRECTION = frozenset({"direction"})
_NONE: frozenset[str] = frozenset()

# The options each has, in the units effects take them in.
OPTIONS: dict[str, frozenset[str]] = {
    "partition": _DIRECTION,
    "hold": _DIRECTION,
    "delay": _DIRECTION | {"low_s", "high_s", "tail", "tail_s"},
    "loss": _DIRECTION | {"probability"},
    "duplication": _DIRECTION | {"probability"},
    "reordering": _DIRECTION | {"probability"},
    "reset": _NONE,
    "crash": frozenset({"restart"}),
    "wipe": _NONE,
    "stale-disk": _NONE,
    "duplicate-id": frozenset({"of"}),
    "pause": _NONE,
    "disk-failure": _NONE,
    "slow-server": frozenset({"low_s", "high_s"}),
    "clock-drift": frozenset({"rate"}),
    "clock-step": frozenset({"by_s"}),
    "cordon": _NONE,
    "drain": _NONE,
    "remove": _NONE,
}

# What happens in a moment; all others last for some time.
ENDLESS = frozenset({"reset", "duplicate-id", "remove"})
