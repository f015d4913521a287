"""Who watches a simulated cluster: every method is told of a thing in the step in which it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minicloud.store.port import Entry

if TYPE_CHECKING:
    from sim.cluster.control_plane import ControlPlaneRun
    from sim.cluster.worker import WorkerRun


class ClusterObserver:
    """Sees nothing of it. Override what is of interest; neither wait nor raise."""

    def control_plane_started(self, run: ControlPlaneRun) -> None:
        """It has loaded its disk and serves from now on."""

    def control_plane_ended(self, run: ControlPlaneRun) -> None:
        """It was killed, or ended by itself (`run.process.failure` says why, if it failed)."""

    def took(self, run: ControlPlaneRun, message: Any) -> None:
        """Its service is about to handle `message`."""

    def answered(self, run: ControlPlaneRun, message: Any, answer: Any) -> None:
        """Its service answers `message` with `answer`."""

    def changed(self, run: ControlPlaneRun, entry: Entry) -> None:
        """Its membership has changed."""

    def stalled(self, run: ControlPlaneRun, by_s: float) -> None:
        """It has noticed that it stood still, and moves its deadlines by `by_s`."""

    def worker_started(self, run: WorkerRun) -> None:
        """A worker's program has begun."""

    def call_failed(self, run: WorkerRun, error: str) -> None:
        """A call of a worker's came to nothing, for what its agent takes to be `error`."""

    def worker_ended(self, run: WorkerRun, reason: str) -> None:
        """It left for `reason`, failed, or was killed (`reason` is empty)."""
