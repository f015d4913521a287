"""The truth about the workers' machines: which of them run, which can be heard, and since when.

It measures how soon the control plane notices; it checks no promise.
"""

from __future__ import annotations

from collections.abc import Iterable

from minicloud.worker.agent_state import AgentState
from sim.cluster.cluster import Cluster
from sim.cluster.worker import WorkerNode, WorkerRun
from sim.net.network import Link
from sim.oracle.model import Member, Model


class Machine:
    """A worker's machine. Times are true; None where the condition does not hold now.

    `reachable_since_s`: it runs, and messages pass both ways. `silent_since_s`: no message of it arrives.
    """

    __slots__ = ("link", "node", "reachable_since_s", "silent_since_s", "started_s", "trying_since_s")

    def __init__(self, node: WorkerNode, link: Link) -> None:
        self.node = node
        self.link = link
        self.started_s = 0.0  # its program, the last one
        self.reachable_since_s: float | None = None
        self.silent_since_s: float | None = 0.0
        self.trying_since_s: float | None = None  # it can come back, and has not

    @property
    def run(self) -> WorkerRun | None:
        """The program that runs on it, if any."""
        run = self.node.run
        return run if run is not None and run.process.alive else None


# A machine, the program on it, and how that sees itself.
Running = tuple[Machine, WorkerRun, AgentState]


class Truth:
    """All machines of a cluster, and how soon the control plane noticed their failures."""

    def __init__(self, cluster: Cluster, model: Model) -> None:
        control_plane = cluster.control_plane
        self.machines = {
            name: Machine(node, cluster.network.link(name, control_plane.name))
            for name, node in cluster.workers.items()
        }
        self.detection_s: list[float] = []
        self.recovery_s: list[float] = []
        self.false_positives = 0
        self._timeline = cluster.timeline
        self._clock = control_plane.clock
        self._model = model

    def started(self, name: str) -> None:
        """Note the start of the program on the machine `name`."""
        self.machines[name].started_s = self._timeline.now_s
        self.look((name,))

    def running(self) -> list[Running]:
        """The machines on which a program runs, with its state. Takes some microseconds each: call it once
        a look."""
        return [
            (machine, run, run.agent.state)
            for machine in self.machines.values()
            if (run := machine.run) is not None
        ]

    def look(self, names: Iterable[str]) -> None:
        """Look at these nodes again, after something has happened to them."""
        for name in names:
            machine = self.machines.get(name)
            if machine is not None:
                self._look(machine)

    def _look(self, machine: Machine) -> None:
        now_s = self._timeline.now_s
        run = machine.run
        runs = run is not None and not run.process.paused
        to_server, to_client = machine.link.to_server, machine.link.to_client
        heard = runs and not (to_server.cut or to_server.held)
        if heard:
            machine.silent_since_s = None
        elif machine.silent_since_s is None:
            machine.silent_since_s = now_s
        if not (heard and not (to_client.cut or to_client.held)):
            machine.reachable_since_s = machine.trying_since_s = None
        elif machine.reachable_since_s is None:
            machine.reachable_since_s = now_s
            if not self._is_healthy(machine) and self._has_been_member(machine):
                machine.trying_since_s = now_s

    def declared_unhealthy(self, member: Member) -> None:
        """Measure a verdict of the control plane."""
        machine = self.machines.get(member.machine)
        if machine is None or machine.node.instance_id != member.instance_id:
            return
        now_s = self._timeline.now_s
        if machine.silent_since_s is not None:
            self.detection_s.append(now_s - machine.silent_since_s)
        elif self.reachable_for_s(machine) >= self._model.timeout_s / self._clock.rate:
            self.false_positives += 1

    def recovered(self, member: Member) -> None:
        """Measure a recovery."""
        machine = self.machines.get(member.machine)
        if machine is not None and machine.trying_since_s is not None:
            self.recovery_s.append(self._timeline.now_s - machine.trying_since_s)
            machine.trying_since_s = None

    def reachable_for_s(self, machine: Machine) -> float:
        """Return for how long the machine has been reachable; 0 if it is not."""
        since_s = machine.reachable_since_s
        return self._timeline.now_s - since_s if since_s is not None else 0.0

    def _has_been_member(self, machine: Machine) -> bool:
        run = machine.run
        return machine.node.starts > 1 or (run is not None and run.agent.state.worker_id != "")

    def _is_healthy(self, machine: Machine) -> bool:
        run = machine.run
        member = self._model.members.get(run.agent.state.worker_id) if run is not None else None
        return member is not None and member.healthy and member.instance_id == machine.node.instance_id
