"""Records a run: every event in a trace, figures for the outcome, and a `Record` for the report.

Always holds: recording changes nothing in the run (tests/sim/oracle/test_oracle.py). A heartbeat costs a few
microseconds, whatever the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minicloud.core.model import Status
from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, RegisterWorkerRequest
from sim.cluster.control_plane import ControlPlaneRun
from sim.cluster.worker import WorkerRun
from sim.faults.schedule import Fault, Schedule
from sim.net.exchanges import Exchange, ExchangeObserver
from sim.record.lines import ANSWERS, REQUESTS
from sim.record.recollection import Recollection
from sim.record.record import Record, Sample
from sim.record.trace import Trace
from sim.simulation.simulation import Simulation, SimulationObserver
from sim.verdict.outcome import Outcome, Violation

_SAMPLES = 1_200  # in a run, at most
_SHORTEST_STEP_S = 1.0

# How long after the first violation is shown what happened: messages on their way come to their end.
_AFTERMATH_S = 5.0


class Recorder(SimulationObserver):
    """Observes the one `Simulation` of `schedule`, after the observer that appends to `violations`.

    The file `trace` gets every event as a line of text. Raises `OSError` if it cannot be opened. If it cannot
    be written later the run ends, and `close` raises the error.
    """

    def __init__(
        self, schedule: Schedule, violations: Sequence[Violation] = (), trace: Path | None = None
    ) -> None:
        end_s = schedule.phases.end_s
        self._record = Record(schedule, max(_SHORTEST_STEP_S, math.ceil(end_s / _SAMPLES)))
        self._recollection = Recollection(schedule.topology.workers)
        self._violations = violations
        self._trace = Trace(trace, lambda: self._simulation.stop())
        self._statuses = dict.fromkeys(Status, 0)
        self._up = False
        self._down_since_s = 0.0
        self._heartbeats = 0
        self._registrations = 0
        self._sampled_heartbeats = 0
        self._sampled_registrations = 0
        self._second = -1
        self._attempts = 0  # to register, in that second
        self._most_attempts = 0
        self._taking = False
        self._over_s = 0.0
        self._digest = ""

    def begins(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._timeline = simulation.timeline
        self._network = simulation.cluster.network
        self._network.exchange_observer = ExchangeObserver(self._recollection.calls.of, self._returned)
        self._timeline.at(self._record.step_s, self._sample_often)

    def close(self) -> None:
        """Write the rest of the trace, also of an unfinished run. Raises `OSError` if any of it could not
        be written."""
        self._trace.close()
        if self._trace.error is not None:
            raise self._trace.error

    def record(self, detection_s: Sequence[float] = (), recovery_s: Sequence[float] = ()) -> Record:
        """The record of the run, once it is over, with the durations that another observer has measured."""
        self._record.detection_s = list(detection_s)
        self._record.recovery_s = list(recovery_s)
        return self._record

    def fill(self, outcome: Outcome) -> None:
        """Write the figures of the run into `outcome`, once it is over."""
        outcome.virtual_seconds = self._over_s
        outcome.heartbeats = self._heartbeats
        outcome.registrations = self._registrations
        outcome.peak_registrations_per_second = self._most_attempts
        outcome.messages = replace(self._network.counts)
        outcome.trace_hash = self._digest

    # Calls on their way

    def _returned(self, exchange: Exchange) -> None:
        # The service reports the earlier steps, if they have a result.
        assert exchange.status is not None
        self._add(f"returned {exchange.client} {exchange.status.name}")

    # What the control plane does

    def took(self, run: ControlPlaneRun, message: Any) -> None:
        line = REQUESTS.get(type(message))
        if line is not None:
            self._add(f"took {line(message)}")
            if type(message) is RegisterWorkerRequest:
                self._attempted()

    def answered(self, run: ControlPlaneRun, message: Any, answer: Any) -> None:
        kind = type(message)
        self._add(ANSWERS[kind](message, answer))
        if kind is HeartbeatRequest:
            self._heartbeats += 1
            if not answer.acknowledged:
                for machine in self._recollection.machines(message.worker_id):
                    self._mark(machine, "heartbeat refused", run.node.name)
        elif kind is RegisterWorkerRequest and answer.registered:
            self._registrations += 1
            machine = message.endpoint.rpartition(":")[0]
            self._recollection.goes_by(machine, answer.assigned_worker_id)
            self._mark(machine, f"is {answer.assigned_worker_id} #{answer.incarnation}", run.node.name)
        if self._violations:
            self._look()

    def changed(self, run: ControlPlaneRun, entry: MembershipEvent) -> None:
        self._statuses[entry.old_status] -= 1
        self._statuses[entry.new_status] += 1
        self._add(
            f"entry {entry.event_id} {entry.at_ms} {entry.kind} "
            f"{entry.detail or '-'} {entry.worker_id} {entry.incarnation} "
            f"{entry.old_status}>{entry.new_status} {entry.reason!r} {entry.request_id or '-'}"
        )
        if entry.kind != "registered":
            for machine in self._recollection.machines(entry.worker_id):
                self._mark(machine, f"{entry.worker_id} {entry.kind}", run.node.name)
        self._look()

    # Programs

    def control_plane_started(self, run: ControlPlaneRun) -> None:
        now_s = self._timeline.now_s
        registry = (
            run.plane.membership.sweep_due()
        )  # which calls `changed` for what it sweeps, so before the count
        self._statuses = dict.fromkeys(Status, 0)
        for worker in registry.workers():
            self._statuses[worker.status] += 1
        if now_s > self._down_since_s:
            self._record.outages.append((self._down_since_s, now_s))
        self._up = True
        self._add(f"started {run.node.name} {run.node.starts}")
        self._mark(run.node.name, "starts")

    def control_plane_ended(self, run: ControlPlaneRun) -> None:
        now_s = self._timeline.now_s
        self._up = False
        self._down_since_s = now_s
        self._add(f"ended {run.node.name} {run.process.failure!r}")
        self._mark(run.node.name, "ends")

    def worker_started(self, run: WorkerRun) -> None:
        node = run.node
        self._add(f"started {node.name} {node.starts} {node.instance_id}")
        self._mark(node.name, "starts")

    def call_failed(self, run: WorkerRun, error: str) -> None:
        self._add(f"failed {run.node.name} {error!r}")

    def worker_ended(self, run: WorkerRun, reason: str) -> None:
        failure = f" {run.process.failure!r}" if run.process.failure is not None else ""
        self._add(f"ended {run.node.name} {reason!r}{failure}")
        self._mark(run.node.name, f"ends: {reason}" if reason else "ends")

    # The course of the run

    def fault_began(self, fault: Fault) -> None:
        self._fault("begins", fault)

    def fault_ended(self, fault: Fault) -> None:
        self._fault("ends", fault)

    def healed(self) -> None:
        self._add("healed")

    async def check(self) -> None:
        if not self._up:
            self._record.outages.append((self._down_since_s, self._timeline.now_s))
        self._over_s = self._timeline.now_s
        self._sample()  # of the rest, shorter than a step
        self._add(f"over {self._network.counts!r}")
        self._digest = self._trace.digest()
        self._trace.close()
        if self._violations and self._recollection.moment is None:
            self._take()

    def _fault(self, what: str, fault: Fault) -> None:
        self._add(f"fault {what} {fault.kind} {' '.join(fault.nodes)}")
        for node in fault.nodes:
            self._mark(node, f"{fault.kind} {what}" if fault.for_s else fault.kind)

    # Figures over time

    def _sample_often(self) -> None:
        self._sample()
        self._timeline.at(self._timeline.now_s + self._record.step_s, self._sample_often)
        self._look()

    def _sample(self) -> None:
        statuses = self._statuses if self._up else dict.fromkeys(Status, 0)
        self._record.samples.append(
            Sample(
                self._timeline.now_s,
                self._up,
                statuses[Status.HEALTHY],
                statuses[Status.UNHEALTHY],
                statuses[Status.DRAINING],
                self._heartbeats - self._sampled_heartbeats,
                self._registrations - self._sampled_registrations,
            )
        )
        self._sampled_heartbeats = self._heartbeats
        self._sampled_registrations = self._registrations

    def _attempted(self) -> None:
        second = int(self._timeline.now_s)
        if second != self._second:
            self._second = second
            self._attempts = 0
        self._attempts += 1
        self._most_attempts = max(self._most_attempts, self._attempts)

    def _add(self, line: str) -> None:
        self._trace.add(f"{self._timeline.now_s:.9f} {line}")

    # The first violation

    def _mark(self, node: str, text: str, place: str = "") -> None:
        self._recollection.mark(node, self._timeline.now_s, text, place)

    def _look(self) -> None:
        if self._violations and not self._taking:
            self._taking = True
            self._timeline.at(self._timeline.now_s + _AFTERMATH_S, self._take)

    def _take(self) -> None:
        self._recollection.take(self._violations[0])
        self._record.moment = self._recollection.moment
