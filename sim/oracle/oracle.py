"""The oracle itself: it receives the events of a run and passes them to the modules that check.

Always holds: an observed run is the same run (`test_run_that_is_watched_is_the_same_run`). A heartbeat costs
a few microseconds. The registry is read only while nothing in it is due, so that reading sweeps nothing.
"""

from __future__ import annotations

from typing import Any

from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.execution import RegisterWorkerRequest
from sim.cluster.control_plane import ControlPlaneNode, ControlPlaneRun
from sim.cluster.topology import CONTROL_PLANE
from sim.cluster.worker import WorkerRun
from sim.faults.kind import Registry
from sim.faults.kinds import KINDS
from sim.faults.schedule import Fault
from sim.oracle.calls import Calls
from sim.oracle.comparison import Comparison
from sim.oracle.convergence import Convergence
from sim.oracle.coverage import Coverage
from sim.oracle.durability import Durability
from sim.oracle.entries import STEP_S, Entries
from sim.oracle.ledger import Ledger
from sim.oracle.model import Model
from sim.oracle.stalls import Stalls
from sim.oracle.step import Step
from sim.oracle.truth import Truth
from sim.oracle.views import compare_views
from sim.simulation.simulation import Simulation, SimulationObserver
from sim.verdict.goals import missed_goals
from sim.verdict.outcome import Outcome, Quantiles, Violation
from sim.verdict.promises import CRASHED_DETECTED, LIVE_RECOVERED, NOTHING_STUCK

_SAMPLES_PER_WORKER_S = 0.05  # a worker more, that much longer from one look at everybody to the next
_LONGEST_S, _SHORTEST_S = 60.0, 1.0
_FEW = 200  # workers: so few are looked at after each change, too


class Oracle(SimulationObserver):
    """Observes one `Simulation`; `fill` an outcome afterwards.

    `until_failure` ends the run with the first violation.
    """

    def __init__(self, until_failure: bool = False) -> None:
        self.violations: list[Violation] = []
        self.coverage = Coverage()
        self._until_failure = until_failure
        self._stopped = False
        self._run: ControlPlaneRun | None = None
        self._awake = False
        self._looking = False

    def begins(self, simulation: Simulation) -> None:
        schedule = simulation.schedule
        timers = schedule.topology.timers
        workers = schedule.topology.workers
        self._simulation = simulation
        self._schedule = schedule
        self._timeline = simulation.timeline
        self._node = simulation.cluster.control_plane
        self._ledger = Ledger(simulation.timeline, workers, self.violations, self._on_violation)
        self._model = Model(timers.heartbeat_timeout_s, timers.retention_s, self._ledger)
        self._step = Step(self._model, self._ledger)
        self._truth = Truth(simulation.cluster, self._model)
        self._durability = Durability(self._ledger, self._node.clock)
        self._calls = Calls(self._model, self._step, self._ledger, self._durability)
        self._entries = Entries(
            self._model,
            self._step,
            self._ledger,
            self._durability,
            self._truth,
            timers.retention_s,
            self._is_removing,
        )
        self._stalls = Stalls(self._ledger, timers.heartbeat_timeout_s)
        self._comparison = Comparison(self._model, self._ledger)
        self._convergence = Convergence(simulation, self._ledger, self._truth, self._durability)
        self._removals = {fault.at_s for fault in schedule.faults if KINDS[fault.kind].strikes_off}
        self._few = workers <= _FEW
        self._every_s = min(_LONGEST_S, max(_SHORTEST_S, _SAMPLES_PER_WORKER_S * workers))
        self._timeline.at(self._every_s, self._sample)

    def fill(self, outcome: Outcome) -> None:
        """Write the findings into `outcome`, once the run is over."""
        self.coverage.counted(self._calls.totals)
        self.coverage.hits["lost-for-good"] = self._ledger.checks[CRASHED_DETECTED]
        outcome.violations = self.violations
        outcome.violations_total = self._ledger.total
        outcome.checks = {str(promise): count for promise, count in self._ledger.checks.items()}
        outcome.goals = {name: count for name, count in self.coverage.hits.items() if count}
        outcome.missed_goals = missed_goals(
            self.coverage.hits, self._schedule.probes, self._schedule.topology.depth
        )
        outcome.detection_seconds = Quantiles.of(self._truth.detection_s)
        outcome.recovery_seconds = Quantiles.of(self._truth.recovery_s)
        outcome.false_positives = self._truth.false_positives

    @property
    def detection_s(self) -> list[float]:
        """The times from a worker's silence to the verdict on it."""
        return self._truth.detection_s

    @property
    def recovery_s(self) -> list[float]:
        """The times from the moment a worker could return until it was HEALTHY again."""
        return self._truth.recovery_s

    # The control plane

    def control_plane_started(self, run: ControlPlaneRun) -> None:
        if run is not self._run:
            self._meet(run)
        self._look_soon()

    def control_plane_ended(self, run: ControlPlaneRun) -> None:
        self._ledger.note(CONTROL_PLANE, "ends", run.process.failure or "")
        failure = run.process.failure
        if failure is None:
            return
        self._ledger.require(
            NOTHING_STUCK,
            False,
            CONTROL_PLANE,
            f"the control plane ended by itself: {failure!r}",
        )

    def took(self, run: ControlPlaneRun, message: Any) -> None:
        if run is not self._run:
            self._meet(run)
        kind = type(message)
        self._step.begin(message, run.node.clock.monotonic_s(), self._calls.judges[kind])
        if kind is RegisterWorkerRequest:
            self._convergence.asked_to_register(message)

    def answered(self, run: ControlPlaneRun, message: Any, answer: Any) -> None:
        if run is self._run:
            self._calls.answered(message, answer)

    def changed(self, run: ControlPlaneRun, entry: MembershipEvent) -> None:
        if run is not self._run:
            self._meet(run)
        self._entries.changed(entry, run.node.clock.monotonic_s())
        member = self._model.members.get(entry.worker_id)
        if entry.kind == "unhealthy" and member is not None:
            self._convergence.declared_unhealthy(member)
        self.coverage.changed(entry)
        if self._few:
            self._look_soon()

    def stalled(self, run: ControlPlaneRun, by_s: float) -> None:
        if run is not self._run:
            self._meet(run)
        self._stalls.reported(by_s, run.node.clock.monotonic_s())
        self._model.postpone(by_s)

    def lost_power(self, node: ControlPlaneNode, written: int, kept: int) -> None:
        self.coverage.lost_power(written, kept)

    def write_failed(self, node: ControlPlaneNode) -> None:
        self.coverage.reach("store-failed")

    def _meet(self, run: ControlPlaneRun) -> None:
        """Begin with a new control plane, before its first event: it may sweep before it reports its
        start."""
        self._run = run
        now_s = run.node.clock.monotonic_s()
        snapshot = run.node.disk.snapshot()
        kept = [worker for worker in snapshot.workers if not worker.departure]
        self._ledger.note(CONTROL_PLANE, "starts, its disk knows workers:", len(kept))
        self._durability.started(kept)
        self._stalls.restart()
        self._calls.restart()
        self._step.restart()
        self._entries.restart(now_s)
        self._model.restart(snapshot, now_s)
        self._convergence.disturbed()
        self.coverage.control_plane_started(run, len(kept))

    # Workers and faults

    def worker_started(self, run: WorkerRun) -> None:
        self._truth.started(run.node.name)
        self._ledger.note(run.node.wanted_id, "starts on", run.node.name)
        if run.node.starts > 1:
            self.coverage.reach("restarted-worker")

    def worker_ended(self, run: WorkerRun, reason: str) -> None:
        self._truth.look((run.node.name,))
        worker_id = run.agent.state.worker_id or run.node.wanted_id
        self._ledger.note(worker_id, "ends on", run.node.name, reason)
        self._ledger.require(
            LIVE_RECOVERED,
            run.process.failure is None and reason in ("", "drained", "SIGTERM"),
            worker_id,
            f"{run.node.name} ended by itself: {run.process.failure or reason}",
        )

    def call_failed(self, run: WorkerRun, error: str) -> None:
        self.coverage.call_failed(error)

    def fault_began(self, fault: Fault) -> None:
        self.coverage.fault_began(fault)
        self._note_fault("begins", fault)
        registry = KINDS[fault.kind].registry
        if registry is Registry.WIPED and CONTROL_PLANE in fault.nodes:
            self._durability.wiped()
        elif registry is Registry.RESTORED:
            self._durability.backed_up(fault)
        self._after(fault)

    def fault_ended(self, fault: Fault) -> None:
        self._note_fault("ends", fault)
        self.coverage.fault_ended(fault)
        if KINDS[fault.kind].registry is Registry.RESTORED:
            self._durability.restored(fault)
        self._after(fault)

    def _after(self, fault: Fault) -> None:
        if KINDS[fault.kind].synchronizes:
            self._convergence.synchronized()
        if CONTROL_PLANE in fault.nodes:
            self._truth.look(self._truth.machines)
            self._look_at_pauses()
        else:
            self._truth.look(fault.nodes)

    def _look_at_pauses(self) -> None:
        run = self._node.run
        awake = run is not None and not run.process.paused
        now_s = self._node.clock.monotonic_s()
        if run is not None and run.process.paused:
            self._stalls.paused(now_s)
        if awake and not self._awake and run is self._run:
            self._stalls.resumed(now_s)
            self._entries.awake_since_s = now_s
            self._convergence.disturbed()
            if self._model.due(now_s):
                self.coverage.reach("sweep-while-paused")
        self._awake = awake

    def _note_fault(self, what: str, fault: Fault) -> None:
        for name in fault.nodes[:_FEW]:
            node = self._simulation.cluster.workers.get(name)
            run = node.run if node is not None else None
            worker_id = run.agent.state.worker_id if run is not None else ""
            self._ledger.note(worker_id or name, what, fault.kind)

    def _is_removing(self) -> bool:
        return self._timeline.now_s in self._removals

    # Looking at everybody

    def healed(self) -> None:
        self._convergence.healed()
        for after_s in (self._convergence.bound_s, self._convergence.silence_s):
            self._timeline.at(self._timeline.now_s + after_s + STEP_S, self._look)

    async def check(self) -> None:
        if self._stopped:
            return
        self._look()
        run = self._run
        if run is not None and run.process.alive:
            await compare_views(run, self._ledger, self._calls, self._entries)
        await self._convergence.check(run)

    def _sample(self) -> None:
        self._look()
        self._timeline.at(self._timeline.now_s + self._every_s, self._sample)

    def _look_soon(self) -> None:
        """Plan a look at the end of this instant."""
        if not self._looking:
            self._looking = True
            self._timeline.at(self._timeline.now_s, self._look)

    def _look(self) -> None:
        self._looking = False
        run = self._run
        if run is None or not run.process.alive or run.process.paused:
            self._convergence.sample(None)
            return
        if self._step.unsettled:
            self._step.settle()
        membership = run.plane.membership
        now_s = run.node.clock.monotonic_s()
        if now_s - self._entries.awake_since_s > STEP_S:
            self._stalls.check()
        # What is due at this very instant may be about to be swept, as may all that fell due while it stood
        # still, if it goes on at this instant.
        if now_s - self._entries.awake_since_s > STEP_S:
            for worker_id in self._model.due(now_s - STEP_S):
                self._step.overdue(worker_id, now_s)
        if membership.next_deadline_s() > now_s:
            self._comparison.compare(membership)
            self._convergence.sample(run)

    def _on_violation(self) -> None:
        if self._until_failure and not self._stopped:
            self._stopped = True
            self._simulation.stop()
