"""Faults of the network, on the messages between workers and the control plane.

A fault on workers is on their links, a fault on the control plane on all of its links. The option `direction`
(to-server, to-client) leaves the other direction alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sim.cluster.cluster import Cluster
from sim.faults.effect import Effect, Undo, nothing, number
from sim.faults.schedule import Fault
from sim.net.network import Delay, Direction, Link

_OnDirection = Callable[[Link, Direction, Fault], Undo]


def _directions(cluster: Cluster, fault: Fault) -> Iterator[tuple[Link, Direction]]:
    named = frozenset(fault.nodes)
    direction = fault.options["direction"]
    for worker in cluster.workers.values():
        for control_plane in worker.control_planes:
            if worker.name in named or control_plane.name in named:
                link = cluster.network.link(worker.name, control_plane.name)
                if direction in ("both", "to-server"):
                    yield link, link.to_server
                if direction in ("both", "to-client"):
                    yield link, link.to_client


def _on_each_direction(effect: _OnDirection) -> Effect:
    def begin(cluster: Cluster, fault: Fault) -> Undo:
        undos = [effect(link, direction, fault) for link, direction in _directions(cluster, fault)]

        def end() -> None:
            for undo in undos:
                undo()

        return end

    return begin


@_on_each_direction
def partition(link: Link, direction: Direction, fault: Fault) -> Undo:
    """Messages are lost, those under way too."""
    direction.cut += 1

    def end() -> None:
        assert direction.cut > 0, "a partition ends once"
        direction.cut -= 1

    return end


@_on_each_direction
def hold(link: Link, direction: Direction, fault: Fault) -> Undo:
    """Messages wait for the end, and then arrive all at once."""
    direction.held += 1
    return lambda: link.release(direction)


@_on_each_direction
def delay(link: Link, direction: Direction, fault: Fault) -> Undo:
    """Messages take `low_s` to `high_s` longer, and `tail_s` with probability `tail`."""
    extra = Delay(
        number(fault, "low_s"),
        number(fault, "high_s"),
        number(fault, "tail"),
        number(fault, "tail_s"),
    )
    direction.extra.append(extra)
    return lambda: direction.extra.remove(extra)


def _with_probability(change: Callable[[Direction, float], None]) -> Effect:
    """Raise one of a direction's probabilities by the fault's `probability`; overlapping faults add."""

    @_on_each_direction
    def effect(link: Link, direction: Direction, fault: Fault) -> Undo:
        by = number(fault, "probability")
        change(direction, by)
        return lambda: change(direction, -by)

    return effect


def _change_loss(direction: Direction, by: float) -> None:
    direction.loss = max(0.0, round(direction.loss + by, 9))


def _change_duplication(direction: Direction, by: float) -> None:
    direction.duplication = max(0.0, round(direction.duplication + by, 9))


def _change_reordering(direction: Direction, by: float) -> None:
    direction.reordering = max(0.0, round(direction.reordering + by, 9))


loss = _with_probability(_change_loss)
duplication = _with_probability(_change_duplication)
reordering = _with_probability(_change_reordering)


def reset(cluster: Cluster, fault: Fault) -> Undo:
    """Connections break: calls under way fail on both sides."""
    run = cluster.control_plane.run
    if run is not None:
        everyone = cluster.control_plane.name in fault.nodes
        run.server.reset(None if everyone else frozenset(fault.nodes))
    return nothing
