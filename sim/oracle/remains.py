"""Promise 14: nothing is left when a run is over. No call is unanswered, no change unwritten, no link
stopped, and no queue, heap or number of tasks has grown while nothing happened."""

from __future__ import annotations

import trio

from sim.cluster.control_plane import ControlPlaneRun
from sim.cluster.topology import CONTROL_PLANE
from sim.oracle.ledger import Ledger
from sim.simulation.simulation import Simulation
from sim.verdict.promises import NOTHING_STUCK

_SETTLED_WITHIN_S = 10.0
# What a worker may have planned or run more at one moment than at another: timers of a call under way.
_MORE_EVENTS, _MORE_TASKS = 2, 1
_FEW = 50


class Remains:
    """Compares the end of a run with the beginning of calm."""

    def __init__(self, simulation: Simulation, ledger: Ledger) -> None:
        self._workers = simulation.schedule.topology.workers
        self._network = simulation.cluster.network
        self._timeline = simulation.timeline
        self._ledger = ledger
        self._sizes: tuple[int, int] | None = None  # when calm began

    def calm(self) -> None:
        """Note the sizes of queues at the beginning of calm."""
        if self._sizes is None:
            self._sizes = self._present_sizes()

    def disturbed(self) -> None:
        """Reset the baseline: the cluster is no longer calm."""
        self._sizes = None

    async def check(self, run: ControlPlaneRun | None) -> None:
        """Check, at the end of the run, that nothing is left."""
        if run is None or not run.process.alive:
            self._require(False, "the control plane does not run, and nobody starts it")
            return
        self._require(not run.server.failures, f"calls failed: {run.server.failures[:3]}")
        if self._sizes is None:
            return
        (events, tasks), (events_before, tasks_before) = self._present_sizes(), self._sizes
        self._require(
            events <= events_before + _MORE_EVENTS * self._workers + _FEW
            and tasks <= tasks_before + _MORE_TASKS * self._workers + _FEW,
            f"{events_before} events and {tasks_before} tasks have become {events} and {tasks} in calm",
        )
        with trio.move_on_after(_SETTLED_WITHIN_S) as settling:
            await run.plane.store.flushed()
            while run.server.open_calls:  # noqa: ASYNC110 (it has no event)
                await trio.sleep(0.001)
        self._require(
            not settling.cancelled_caught,
            f"after {_SETTLED_WITHIN_S:g} s the store has not written all, or {run.server.open_calls} calls "
            "have not been answered",
        )
        stuck = [
            link.client
            for link in self._network.links_to(CONTROL_PLANE)
            for direction in (link.to_server, link.to_client)
            if direction.cut or direction.held or direction.waiting
        ]
        self._require(not stuck, f"links are still stopped: {stuck[:5]}")

    def _present_sizes(self) -> tuple[int, int]:
        return self._timeline.planned, trio.lowlevel.current_statistics().tasks_living

    def _require(self, holds: bool, text: str) -> None:
        self._ledger.require(NOTHING_STUCK, holds, CONTROL_PLANE, text)
