"""Everything that can go wrong, by the name scenarios use."""

from __future__ import annotations

from sim.faults.effect import Effect
from sim.faults.links import LINK_EFFECTS
from sim.faults.machines import MACHINE_EFFECTS
from sim.faults.operators import OPERATOR_EFFECTS

EFFECTS: dict[str, Effect] = {**LINK_EFFECTS, **MACHINE_EFFECTS, **OPERATOR_EFFECTS}
