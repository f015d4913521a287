"""Parts of the oracle, and the machines that it looks at, for tests of one of its modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.wire.gen.minicloud.common import ResourceInfo
from minicloud.wire.gen.minicloud.execution import RegisterWorkerRequest
from minicloud.worker.agent_state import AgentState, Phase
from sim.cluster.topology import Topology
from sim.engine.timeline import Timeline
from sim.faults.schedule import Fault, Phases, Schedule
from sim.oracle.ledger import Ledger
from sim.oracle.oracle import Oracle
from sim.oracle.truth import Machine, Running
from sim.simulation.simulation import Simulation
from sim.verdict.outcome import Outcome, Violation

TOPOLOGY = Topology(workers=6, ramp_s=1.0, timers=LivenessPolicy(5.0, 15.0, 600.0))


def schedule_of(*faults: Fault, chaos_s: float = 50.0, topology: Topology = TOPOLOGY) -> Schedule:
    """A run of two minutes with these faults."""
    return Schedule("test", 1, topology, Phases(10.0, chaos_s, 70.0), faults)


def outcome_of(schedule: Schedule, oracle: Oracle | None = None) -> Outcome:
    """The outcome of the run of `schedule` under `oracle`."""
    oracle = oracle or Oracle()
    Simulation(schedule, [oracle]).run()
    outcome = Outcome(schedule.name, schedule.seed, schedule.topology.workers)
    oracle.fill(outcome)
    return outcome


@dataclass
class Found:
    """A ledger and the violations in it. `timeline.now_s` may be set."""

    timeline: Timeline = field(default_factory=Timeline)
    violations: list[Violation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.timeline, 10, self.violations, lambda: None)

    @property
    def promises(self) -> list[str]:
        """The promises that did not hold, in the order in which that was found."""
        return [violation.promise for violation in self.violations]


def registration(worker_id: str, *, used_mb: int = 100, zone: str = "a") -> RegisterWorkerRequest:
    """The message by which the installation `inst-ID` on the machine ID registers."""
    return RegisterWorkerRequest(
        worker_id=worker_id,
        instance_id=f"inst-{worker_id}",
        endpoint=f"{worker_id}:9091",
        resources=ResourceInfo(cpu_cores=8, memory_mb=1000, memory_used_mb=used_mb),
        metadata={"zone": zone},
    )


def agent_state(worker_id: str = "", incarnation: int = 0, **changes: Any) -> AgentState:
    """The state of an agent, which is registered if it has an id."""
    state = AgentState(Phase.ACTIVE, bool(worker_id), worker_id, incarnation, 5.0, 0.0, 0, 0, None)
    return state._replace(**changes)


def outage(failures: int, since_s: float) -> Any:
    """An outage as an agent shows it."""
    return SimpleNamespace(failures=failures, since_s=since_s)


def run_program(machine: Machine, state: AgentState) -> Running:
    """Have a program run on `machine`, with its agent in `state`."""
    process = SimpleNamespace(alive=True, paused=False, failure=None)
    run = SimpleNamespace(node=machine.node, process=process, agent=SimpleNamespace(state=state))
    machine.node.run = cast("Any", run)
    machine.node.starts += 1
    return machine, cast("Any", run), state
