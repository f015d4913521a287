"""The observer of a whole simulated cluster: of its control planes and of its workers."""

from __future__ import annotations

from sim.cluster.control_plane import ControlPlaneObserver
from sim.cluster.worker import WorkerObserver


class ClusterObserver(ControlPlaneObserver, WorkerObserver):
    """Receives everything that happens in a cluster. A subclass overrides the methods that it needs."""
