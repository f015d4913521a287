"""Kinds of faults that stand for several simple ones: each function makes those of one fault.

The fault that a pattern receives has a value for each option of its kind (`FaultKind.complete`).
"""

from __future__ import annotations

from random import Random

from sim.faults.effect import number
from sim.faults.schedule import Fault


def one_way(fault: Fault, random: Random) -> list[Fault]:
    """Partition one direction."""
    return [Fault("partition", fault.at_s, fault.nodes, fault.for_s, fault.options)]


def swizzle(fault: Fault, random: Random) -> list[Fault]:
    """Hold links one by one in one order, and release them one by one in another."""
    half_s = fault.for_s / 2
    starts = sorted(random.random() * half_s for _ in fault.nodes)
    ends = [half_s + random.random() * half_s for _ in fault.nodes]
    order = random.sample(fault.nodes, len(fault.nodes))
    return [
        Fault("hold", fault.at_s + start_s, (node,), end_s - start_s)
        for node, start_s, end_s in zip(order, starts, ends, strict=True)
    ]


def flapping(fault: Fault, random: Random) -> list[Fault]:
    """Cut links for `down_s` and leave them whole for about `up_s`, over and over, each to its own beat."""
    down_s, up_s = number(fault, "down_s"), number(fault, "up_s")
    faults = []
    for node in fault.nodes:
        at_s = fault.at_s + random.random() * up_s
        while at_s + down_s <= fault.end_s:
            faults.append(Fault("partition", at_s, (node,), down_s))
            at_s += down_s + up_s * (0.5 + random.random())
    return faults


def flaps(fault: Fault) -> float:
    """An upper bound of the number of faults that `flapping` makes."""
    beat_s = number(fault, "down_s") + number(fault, "up_s") / 2
    return len(fault.nodes) * fault.for_s / beat_s


def rolling_restart(fault: Fault, random: Random) -> list[Fault]:
    """Restart programs one after the other, each down for `down_s`."""
    down_s = number(fault, "down_s")
    step_s = max(0.0, fault.for_s - down_s) / len(fault.nodes)
    return [
        Fault("crash", fault.at_s + index * step_s, (node,), down_s) for index, node in enumerate(fault.nodes)
    ]
