"""Faults by operators: cordons, drains and removals, through the control plane's own membership."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from minicloud.core.commands import Command, Cordon, Drain, Remove, Uncordon
from minicloud.core.errors import InvalidError, StoreUnavailableError, UnknownWorkerError
from sim.cluster.cluster import Cluster
from sim.faults.effect import Undo, nothing
from sim.faults.schedule import Fault


def _command(cluster: Cluster, fault: Fault, command: Callable[[str], Command]) -> None:
    """Send `command` for each of the fault's workers, under the id it has now."""
    run = cluster.control_plane.run
    if run is None or not run.process.alive or run.process.paused:
        return  # an operator would get an error
    for worker in cluster.workers_named(fault.nodes):
        worker_id = worker.run.agent.state.worker_id if worker.run is not None else ""
        with suppress(UnknownWorkerError, InvalidError, StoreUnavailableError):
            run.plane.membership.execute(command(worker_id))


def cordon(cluster: Cluster, fault: Fault) -> Undo:
    """Workers are cordoned, and uncordoned at the end."""
    _command(cluster, fault, Cordon)
    return lambda: _command(cluster, fault, Uncordon)


def drain(cluster: Cluster, fault: Fault) -> Undo:
    """Workers are drained. At the end, workers that have not left stay, and the machines of the others
    start anew."""
    _command(cluster, fault, Drain)

    def end() -> None:
        _command(cluster, fault, Uncordon)
        for worker in cluster.workers_named(fault.nodes):
            worker.start(cluster.nursery)

    return end


def remove(cluster: Cluster, fault: Fault) -> Undo:
    """Workers are struck off, and so register again."""
    _command(cluster, fault, Remove)
    return nothing
