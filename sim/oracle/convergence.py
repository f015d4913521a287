"""The promises that hold once every fault has ended (10 to 14, 17), and the bounds on attempts.

The cluster is *calm* when every fault has ended, the control plane runs, and its queue of calls is short.
From then on a worker that runs and is connected has to be HEALTHY within

    1.05 H + 10 s + 30 s + 4 d (+ 5 s)

The terms are: a heartbeat, answered "register" after a doubled registration, at the next tick (H, and its
jitter); a call that was lost just before (its timeout of 10 s) and the longest backoff after it (30 s); two
calls of two messages each (d: the largest delay, and the time that the server takes); and, where messages
were doubled or overtook each other, the last of those on their way.
"""

from __future__ import annotations

from typing import Any

from minicloud.core.model import Admin, Health, Worker
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.agent_state import AgentState, Phase
from minicloud.worker.ticks import JITTER
from sim.cluster.control_plane import ControlPlaneRun
from sim.faults.kinds import KINDS
from sim.net.network import OVERTAKEN_S
from sim.oracle.durability import Durability
from sim.oracle.herd import Herd
from sim.oracle.ledger import FirstOfEach, Ledger
from sim.oracle.model import Member
from sim.oracle.remains import Remains
from sim.oracle.truth import Machine, Running, Truth
from sim.simulation.simulation import Simulation
from sim.verdict.promises import (
    CRASHED_DETECTED,
    ENDPOINT_PROVED,
    HERD_BOUNDED,
    IDS_UNIQUE,
    LIVE_RECOVERED,
    VIEW_IS_TRUTH,
    Promise,
)

_SERVICE_S = 0.1  # what a call may take of a server that is not behind
_DRIFT = 1.001  # clocks are wrong by less, once every fault has ended
_PHASES = {Admin.ACTIVE: Phase.ACTIVE, Admin.CORDONED: Phase.CORDONED, Admin.DRAINING: Phase.DRAINING}


class Convergence:
    """Watches a cluster come to rest. `sample` it at intervals, `check` it at the end."""

    def __init__(self, simulation: Simulation, ledger: Ledger, truth: Truth, durability: Durability) -> None:
        topology = simulation.schedule.topology
        agent = AgentConfig()
        delay_s = topology.delay.most_s + _SERVICE_S
        lingers_s = 0.0
        for fault in simulation.schedule.faults:
            if KINDS[fault.kind].lingers:
                options = KINDS[fault.kind].complete(fault).options
                lengths_s = (options.get("high_s", 0.0), options.get("tail_s", 0.0), OVERTAKEN_S)
                lingers_s = max(lingers_s, *(float(length_s) for length_s in lengths_s))
        interval_s = topology.timers.heartbeat_interval_s
        self.bound_s = _DRIFT * (
            (1 + JITTER) * interval_s + agent.call_timeout_s + agent.backoff.max_s + 4 * delay_s + lingers_s
        )
        self.silence_s = _DRIFT * topology.timers.heartbeat_timeout_s + delay_s + lingers_s
        self._timeline = simulation.timeline
        self._ledger = ledger
        self._truth = truth
        self._durability = durability
        self._herd = Herd(simulation, ledger, truth)
        self._remains = Remains(simulation, ledger)
        self._healed = False
        self._calm_since_s = 0.0
        self._first = FirstOfEach(ledger)

    # Events

    def healed(self) -> None:
        """Begin to wait for calm: every fault has ended."""
        self._healed = True
        self.disturbed()

    def disturbed(self) -> None:
        """Begin calm anew: the control plane has started or was resumed."""
        self._calm_since_s = self._timeline.now_s
        self._remains.disturbed()
        self._herd.disturbed(self._healed)

    def asked_to_register(self, message: Any) -> None:
        """Count a registration attempt."""
        self._herd.asked_to_register(message.endpoint.rpartition(":")[0])

    def synchronized(self) -> None:
        """Allow many registrations at once: a fault makes workers act at the same moment."""
        self._herd.synchronized()

    def declared_unhealthy(self, member: Member) -> None:
        """Check a verdict: it must not fall on a worker that has had the time to recover."""
        machine = self._truth.machines.get(member.machine)
        if machine is None or not self._has_recovered(machine):
            return
        self._ledger.require(
            HERD_BOUNDED,
            machine.node.instance_id != member.instance_id,
            member.worker_id,
            f"{member.worker_id} was declared UNHEALTHY; its machine has been running and connected for "
            f"{self._truth.reachable_for_s(machine):.1f} s",
        )

    def sample(self, run: ControlPlaneRun | None) -> None:
        """Check every worker. Nothing may be due in the registry."""
        running = self._truth.running()
        self._herd.sample(running)
        self._check_ids(running)
        if run is None or not run.process.alive or run.process.paused:
            self._calm_since_s = self._timeline.now_s
            return
        if not self._healed:
            return
        if run.server.open_calls > max(5, len(self._truth.machines) // 20):
            self._calm_since_s = self._timeline.now_s
            return
        if self._calm_s >= self.bound_s:
            self._check_live(run, running)
            self._herd.calm(self.bound_s, running)
            self._remains.calm()
        if self._calm_s >= self.silence_s:
            self._check_dead(run)

    async def check(self, run: ControlPlaneRun | None) -> None:
        """Check, at the end of the run, that nothing is left."""
        self._herd.check()
        await self._remains.check(run)

    # What has to be so

    @property
    def _calm_s(self) -> float:
        return self._timeline.now_s - self._calm_since_s

    def _has_recovered(self, machine: Machine) -> bool:
        """True if the machine has been reachable in calm for long enough to be HEALTHY again."""
        return (
            self._healed
            and self._calm_s >= self.bound_s
            and self._truth.reachable_for_s(machine) >= self.bound_s
        )

    def _check_ids(self, running: list[Running]) -> None:
        """Check that no two workers hold the same incarnation of an id.

        Two may hold the same id until the older one is fenced.
        """
        holders: dict[tuple[str, int], str] = {}
        self._ledger.checks[IDS_UNIQUE] += len(running)
        for machine, _, state in running:
            if state.registered and not self._durability.may_be_twice(state.worker_id, state.incarnation):
                name = machine.node.name
                holder = holders.setdefault((state.worker_id, state.incarnation), name)
                if holder != name:
                    self._first.violate(
                        IDS_UNIQUE,
                        state.worker_id,
                        f"{holder} and {name} both are {state.worker_id} in incarnation {state.incarnation}",
                    )

    def _check_live(self, run: ControlPlaneRun, running: list[Running]) -> None:
        registry = run.plane.membership.sweep_due()
        for machine, _, state in running:
            if not self._has_recovered(machine):
                continue
            name = machine.node.name
            if state.phase is Phase.STOPPING or state.phase is Phase.LEFT:
                continue
            self._ledger.checks[LIVE_RECOVERED] += 1
            worker = registry.get(state.worker_id)
            if worker is not None and self._is_mistaken(machine, worker, state):
                continue
            if worker is None or worker.instance_id != machine.node.instance_id or not state.registered:
                shown = "is not a member"
            elif worker.health is not Health.HEALTHY:
                shown = f"is {worker.health}"
            elif worker.incarnation != state.incarnation:
                shown = f"is a member in incarnation {worker.incarnation}, and thinks {state.incarnation}"
            else:
                self._check_truth(machine, worker, state)
                continue
            self._first.violate(
                LIVE_RECOVERED,
                state.worker_id or name,
                f"{name} ({state.worker_id or 'without an id'}) {shown}; it has been running and connected "
                f"for {self._truth.reachable_for_s(machine):.1f} s, {self._calm_s:.1f} s of them in calm",
            )

    def _is_mistaken(self, machine: Machine, worker: Worker, state: AgentState) -> bool:
        """True if the machine uses an incarnation that a control plane without registry and time gave to two.

        Heartbeats carry no installation, so the control plane cannot tell the two apart.
        """
        return (
            worker.instance_id != machine.node.instance_id
            and worker.incarnation == state.incarnation
            and self._durability.may_be_twice(worker.worker_id, worker.incarnation)
        )

    def _check_truth(self, machine: Machine, worker: Worker, state: AgentState) -> None:
        node = machine.node
        self._require(
            ENDPOINT_PROVED,
            worker.endpoint == node.endpoint,
            worker.worker_id,
            f"{worker.worker_id} is listed at {worker.endpoint}; it can be reached at {node.endpoint}",
        )
        shown = (worker.zone, worker.resources.cpu_cores, _PHASES[worker.admin])
        true = (node.zone, 8, state.phase)
        self._ledger.checks[VIEW_IS_TRUTH] += 1
        if shown != true:
            self._first.violate(
                VIEW_IS_TRUTH,
                worker.worker_id,
                f"{worker.worker_id} is shown with zone, cores and phase {shown}; true is {true}",
            )

    def _check_dead(self, run: ControlPlaneRun) -> None:
        """Check that every worker shown as HEALTHY has a program that goes by its id."""
        for worker in run.plane.membership.sweep_due().workers():
            machine = self._truth.machines.get(worker.endpoint.partition(":")[0])
            program = machine.run if machine is not None else None
            silent_s = self._calm_s
            if machine is not None and machine.silent_since_s is not None:
                silent_s = min(silent_s, self._timeline.now_s - machine.silent_since_s)
            elif program is not None and machine is not None:
                state = program.agent.state
                itself = machine.node.instance_id == worker.instance_id
                if itself and (not state.registered or state.worker_id == worker.worker_id):
                    continue
                # Its machine goes by another id by now; it may have done so a moment ago only.
                silent_s = min(silent_s, run.node.clock.monotonic_s() - worker.last_heartbeat_s)
                if self._durability.may_be_twice(worker.worker_id, worker.incarnation):
                    continue
            if silent_s >= self.silence_s:
                self._require(
                    CRASHED_DETECTED,
                    worker.health is Health.UNHEALTHY,
                    worker.worker_id,
                    f"{worker.worker_id} is HEALTHY, and nobody has gone by that id for {silent_s:.1f} s",
                )

    def _require(self, promise: Promise, holds: bool, node: str, text: str) -> None:
        self._ledger.checks[promise] += 1
        if not holds:
            self._first.violate(promise, node, text)
