"""Which nodes a fault is on, as scenarios say it."""

from __future__ import annotations

from random import Random

from minicloud.core.errors import MiniCloudError
from sim.cluster.cluster import CONTROL_PLANE, Topology

FORMS = "all, zone:NAME, random:10%, random:5, worker-17, control-plane, or several with commas"


class SelectorError(MiniCloudError):
    """A selector that names nothing there is."""


def select(selector: str, topology: Topology, random: Random) -> tuple[str, ...]:
    """The names of the nodes `selector` stands for, in the order of the topology, each once.

    `random:` draws from the workers. Raises `SelectorError`.
    """
    chosen: set[str] = set()
    for part in selector.split(","):
        chosen.update(_select_one(part.strip(), topology, random))
    return tuple(name for name in (CONTROL_PLANE, *topology.worker_names) if name in chosen)


def _select_one(selector: str, topology: Topology, random: Random) -> list[str]:
    names = topology.worker_names
    kind, _, value = selector.partition(":")
    if selector == "all":
        return names
    if selector == CONTROL_PLANE or selector in names:
        return [selector]
    if kind == "zone" and value in topology.zones:
        return [name for number, name in enumerate(names) if topology.zone_of(number) == value]
    if kind == "random":
        return random.sample(names, _count(value, len(names)))
    if kind == "zone":
        raise SelectorError(f"no zone {value!r}: there are {', '.join(topology.zones)}")
    raise SelectorError(f"{selector!r} selects nothing: use {FORMS}")


def _count(value: str, most: int) -> int:
    """Of `random:`; at least one."""
    try:
        wanted = float(value[:-1]) / 100 * most if value.endswith("%") else int(value)
    except ValueError:
        raise SelectorError(f"'random:{value}' is no share: use random:10% or random:5") from None
    return min(most, max(1, round(wanted)))
