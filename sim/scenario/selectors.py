"""Selectors: the form in which scenarios name the nodes of a fault."""

from __future__ import annotations

import re
from random import Random

from minicloud.core.errors import MiniCloudError
from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.options.values import suggestion
from sim.scenario.table import FORMS

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", re.ASCII)
_COUNT = re.compile(r"[1-9][0-9]{0,6}", re.ASCII)


class SelectorError(MiniCloudError):
    """A selector names nothing that exists."""


def select(selector: str, topology: Topology, random: Random) -> tuple[str, ...]:
    """The names of the nodes that `selector` stands for, in the order of the topology, each once.

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
        raise SelectorError(f"no zone {value!r}: {suggestion(value, topology.zones)}")
    if re.fullmatch(r"worker-[0-9]+", selector, re.ASCII):
        raise SelectorError(f"no {selector}: there are worker-0 to {names[-1]}")
    raise SelectorError(f"{selector!r} selects nothing: use {FORMS}")


def _count(value: str, most: int) -> int:
    """The number of nodes that `random:` draws, at least one."""
    share = _SHARE.fullmatch(value)
    if share is not None and 0 < float(share[1]) <= 100:
        return max(1, round(float(share[1]) / 100 * most))
    if _COUNT.fullmatch(value):
        return min(most, int(value))
    raise SelectorError(f"'random:{value}' is no share: use random:1% to random:100%, or random:5 for five")
