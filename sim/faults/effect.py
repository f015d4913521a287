"""The effect of a fault on a simulated cluster: a function that begins it and returns one that ends it.

    def partition(link: Link, direction: Direction, fault: Fault) -> Undo:
        direction.cut += 1
        return lambda: ...

The fault that an effect receives has a value for each option of its kind (`FaultKind.complete`).

Always holds: effects overlap freely and end in any order; when all have ended the cluster is whole again,
except for what an end cannot mend, such as a wiped disk (tests/sim/test_faults.py).
"""

from __future__ import annotations

from collections.abc import Callable

from sim.cluster.cluster import Cluster
from sim.faults.schedule import Fault

Undo = Callable[[], None]
# Both are called in an event of the timeline, and must not wait.
Effect = Callable[[Cluster, Fault], Undo]


def nothing() -> None:
    """End a fault that has nothing to undo."""


def number(fault: Fault, option: str) -> float:
    """A numeric option of a complete fault, by the name that schedules have."""
    value = fault.options[option]
    assert not isinstance(value, str), f"{fault.kind}: {option} is a number"
    return value
