"""What a fault does to a cluster: a function that begins it and answers with the function that ends it.

Always holds: effects overlap freely and end in any order; when all have ended the cluster is whole again,
but for what an end cannot mend (a wiped disk, a worker that has left).
"""

from __future__ import annotations

from collections.abc import Callable

from sim.cluster.cluster import Cluster
from sim.faults.schedule import Fault
from sim.scenario.table import default_of

Undo = Callable[[], None]
# Both are called in an event of the timeline, and wait for nothing.
Effect = Callable[[Cluster, Fault], Undo]


def nothing() -> None:
    """The end of what has none."""


def number(fault: Fault, option: str) -> float:
    """A numeric option, by the name that schedules have; its default where the fault leaves it out."""
    value = fault.options.get(option, default_of(fault.kind, option))
    assert not isinstance(value, str), f"{fault.kind}: {option} is a number"
    assert isinstance(value, float | int)
    return value
