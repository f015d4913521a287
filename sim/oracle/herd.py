"""Promise 13: bounds on attempts to register, of each worker and of all together.

While a worker's calls fail it tries again after U(0, min(30, 0.5 * 2^failures)) seconds: some six times in
the first ten seconds, then once in ten to fifteen. `20 + 1 / 5 s` is far above that for any draw of luck, and
far below a retry without backoff. Workers that failed at the same moment spread over the delays that they
have reached, which after an outage of seconds are seconds: half of them may return in one second, plus luck,
with a standard deviation of sqrt(n) / 2, of which four are allowed.
"""

from __future__ import annotations

from sim.cluster.topology import CONTROL_PLANE
from sim.cluster.worker import WorkerRun
from sim.oracle.ledger import Ledger
from sim.oracle.truth import Running, Truth
from sim.simulation.simulation import Simulation
from sim.verdict.promises import HERD_BOUNDED

_ATTEMPTS, _ATTEMPTS_PER_S = 20, 0.2  # of one worker in one outage
_RETURN_S = 60.0  # after a start of the control plane: the herd's time
_FEWEST = 20  # registrations in a second that are no herd
_REGISTRATIONS = 6  # of one worker after the last disturbance: its own, doubled ones and what they fence


class Herd:
    """Counts attempts to register, and heartbeats in calm."""

    def __init__(self, simulation: Simulation, ledger: Ledger, truth: Truth) -> None:
        self._timeline = simulation.timeline
        self._interval_s = simulation.schedule.topology.timers.heartbeat_interval_s
        self._ledger = ledger
        self._truth = truth
        self._second = -1
        self._in_second = 0
        self._return_until_s = -1.0
        self._starts = 0
        self._together_until_s = -1.0
        self._registrations: dict[str, int] = {}  # by machine, since the last disturbance
        self._began: dict[str, tuple[WorkerRun, int]] = {}  # heartbeats by machine, when calm began
        self._calm_at_s = 0.0

    def disturbed(self, healed: bool) -> None:
        """Begin a new count: the control plane has started or was resumed, or every fault has ended."""
        self._registrations.clear()
        self._began.clear()
        self._starts += 1
        if self._starts > 1:
            self._return_until_s = self._timeline.now_s + _RETURN_S

    def synchronized(self) -> None:
        """Allow a herd for a minute: a fault makes workers act at the same moment."""
        self._together_until_s = self._timeline.now_s + _RETURN_S

    def asked_to_register(self, name: str) -> None:
        """Count a registration of the machine `name`."""
        now_s = self._timeline.now_s
        self._registrations[name] = self._registrations.get(name, 0) + 1
        machine = self._truth.machines.get(name)
        if (
            machine is None
            or not self._together_until_s < now_s < self._return_until_s
            or now_s - machine.started_s < _RETURN_S / 2
        ):
            return
        if int(now_s) != self._second:
            self._second, self._in_second = int(now_s), 0
        self._in_second += 1
        workers = len(self._truth.machines)
        bound = max(_FEWEST, round(workers / 2 + 2 * workers**0.5))
        self._ledger.checks[HERD_BOUNDED] += 1
        if self._in_second == bound + 1:
            self._ledger.violate(
                HERD_BOUNDED,
                CONTROL_PLANE,
                f"more than {bound} of {workers} workers register in one second",
            )

    def sample(self, running: list[Running]) -> None:
        """Check the attempts of workers whose calls fail."""
        for machine, _, state in running:
            outage = state.outage
            if outage is not None:
                lasts_s = machine.node.clock.monotonic_s() - outage.since_s
                self._require(
                    outage.failures <= _ATTEMPTS + _ATTEMPTS_PER_S * lasts_s,
                    machine.node.name,
                    f"{machine.node.name} has tried {outage.failures} times in an outage of {lasts_s:.1f} s",
                )

    def calm(self, bound_s: float, running: list[Running]) -> None:
        """Check the registrations of workers that have recovered, and count heartbeats from now on."""
        if self._began:
            return
        self._calm_at_s = self._timeline.now_s
        for machine, run, state in running:
            name = machine.node.name
            if self._truth.reachable_for_s(machine) >= bound_s:
                self._began[name] = (run, state.acknowledged + state.failed)
                asked = self._registrations.get(name, 0)
                self._require(
                    asked <= _REGISTRATIONS, name, f"{name} asked to register {asked} times to come back"
                )

    def check(self) -> None:
        """Check, at the end of the run, the number of heartbeats since calm began."""
        lasted_s = self._timeline.now_s - self._calm_at_s
        for name, (run, before) in self._began.items():
            state = run.agent.state
            sent = state.acknowledged + state.failed - before
            most = 2 + 1.001 * lasted_s / (0.95 * self._interval_s)
            if run.process.alive:
                self._require(
                    sent <= most,
                    state.worker_id,
                    f"{name} sent {sent} heartbeats in {lasted_s:.1f} s of calm, {most:.1f} at most are due",
                )

    def _require(self, holds: bool, node: str, text: str) -> None:
        self._ledger.require(HERD_BOUNDED, holds, node, text)
