"""The effects of faults: whatever overlaps and in whatever order it ends, the cluster is whole afterwards."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from sim.cluster.cluster import Cluster
from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.engine.randomness import Streams
from sim.engine.timeline import Timeline
from sim.faults.kind import FaultKind, Lasts, On
from sim.faults.kinds import KINDS, SIMULATED
from sim.faults.schedule import Fault

_NODES = ("worker-1", "worker-3", CONTROL_PLANE)
# The kinds that change a cluster without starting a program, for which these tests have no nursery.
_KINDS = [
    name
    for name, kind in SIMULATED.items()
    if kind.lasts is Lasts.NEEDED and name not in ("stale-disk", "cordon", "drain")
]


def _cluster() -> Cluster:
    cluster = Cluster(Topology(workers=5), Timeline(), Streams(1), [])
    for worker in cluster.workers.values():
        cluster.network.link(worker.name, CONTROL_PLANE)
    return cluster


def _state(cluster: Cluster) -> Any:
    """All that a fault of these kinds may change."""
    links = [
        (
            direction.cut,
            direction.held,
            list(direction.extra),
            direction.loss,
            direction.duplication,
            direction.reordering,
        )
        for link in cluster.network.links_to(CONTROL_PLANE)
        for direction in (link.to_server, link.to_client)
    ]
    nodes: list[Any] = [cluster.control_plane, *cluster.workers.values()]
    # Rounded: a rate is multiplied and divided, an error added and taken away.
    clocks = [(round(node.clock.rate, 9), round(node.clock.wall_error_s, 6)) for node in nodes]
    paused = [node.run is not None and node.run.process.paused for node in nodes]
    control_plane = cluster.control_plane
    return links, clocks, paused, control_plane.disk.failing, list(control_plane.slowness)


def _fault(kind: FaultKind, random: Random) -> Fault:
    nodes = (CONTROL_PLANE,) if kind.on is On.CONTROL_PLANE else _NODES
    options = {**kind.draw(CONTROL_PLANE, 5, random)}
    return kind.complete(Fault(kind.name, 0.0, nodes, 1.0, options))


@pytest.mark.parametrize("name", [name for name in _KINDS if name != "pause"])
def test_fault_changes_the_cluster_and_its_end_mends_it(name: str) -> None:
    cluster = _cluster()
    whole = _state(cluster)
    effect = KINDS[name].effect
    assert effect is not None
    undo = effect(cluster, _fault(KINDS[name], Random(1)))
    assert _state(cluster) != whole
    undo()
    assert _state(cluster) == whole


@pytest.mark.parametrize("seed", range(8))
def test_faults_that_overlap_and_end_in_any_order_leave_a_whole_cluster(seed: int) -> None:
    random = Random(seed)
    cluster = _cluster()
    whole = _state(cluster)
    undos = []
    for name in random.choices(_KINDS, k=40):
        effect = KINDS[name].effect
        assert effect is not None
        undos.append(effect(cluster, _fault(KINDS[name], random)))
    random.shuffle(undos)
    for undo in undos:
        undo()
    assert _state(cluster) == whole


@pytest.mark.parametrize("name", SIMULATED)
def test_fault_that_is_complete_has_every_option_of_its_kind(name: str) -> None:
    kind = KINDS[name]
    options = {"of": "worker-1"} if name == "duplicate-id" else {}
    fault = kind.complete(Fault(name, 0.0, ("worker-1",), 1.0, {**options}))
    assert set(fault.options) == {key.code_name for key in kind.options}
