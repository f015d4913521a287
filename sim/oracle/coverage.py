"""The coverage of a run: how often each coverage goal was reached, counted from what the oracle sees."""

from __future__ import annotations

from collections.abc import Mapping

from minicloud.store.port import MembershipEvent
from sim.cluster.control_plane import ControlPlaneRun
from sim.cluster.topology import CONTROL_PLANE
from sim.faults.kinds import KINDS
from sim.faults.schedule import Fault
from sim.oracle.model import Judgement
from sim.verdict.goals import GOALS

_ENTRIES: dict[tuple[str, str], str] = {
    ("unhealthy", ""): "expired",
    ("recovered", ""): "recovered",
    ("cordoned", ""): "cordoned",
    ("registered", "again"): "registered-again",
    ("registered", "takeover"): "taken-over",
    ("registered", "renamed"): "renamed",
    ("departed", "drained"): "drained",
    ("departed", "removed"): "removed",
    ("departed", "forgotten"): "forgotten",
}


class Coverage:
    """Counts how often each coverage goal is reached in a run."""

    def __init__(self) -> None:
        self.hits = dict.fromkeys(GOALS, 0)

    def reach(self, name: str) -> None:
        """Count the goal `name`."""
        self.hits[name] += 1

    def changed(self, entry: MembershipEvent) -> None:
        """Count the goals of a change of membership."""
        if entry.kind == "registered":
            self.reach("registered")
        name = _ENTRIES.get((entry.kind, entry.detail))
        if name is not None:
            self.reach(name)

    def counted(self, heartbeats: Mapping[Judgement, int]) -> None:
        """Set the goals of heartbeats from their numbers in the run, by judgement."""
        self.hits["heartbeats"] = heartbeats[Judgement.ACCEPTED]
        self.hits["stale-heartbeat"] = heartbeats[Judgement.STALE] + heartbeats[Judgement.DUPLICATE]
        self.hits["overtaken-heartbeat"] = heartbeats[Judgement.STALE]
        self.hits["duplicate-delivered"] = heartbeats[Judgement.DUPLICATE]
        self.hits["fenced"] = heartbeats[Judgement.FENCED]
        self.hits["told-to-register"] = heartbeats[Judgement.UNKNOWN]

    def fault_began(self, fault: Fault) -> None:
        """Count the goal that the kind of `fault` reaches by beginning."""
        goal = KINDS[fault.kind].goal
        if (
            goal is not None
            and not goal.at_end
            and (not goal.on_control_plane or CONTROL_PLANE in fault.nodes)
        ):
            self.reach(goal.name)

    def fault_ended(self, fault: Fault) -> None:
        """Count the goal that the kind of `fault` reaches by ending."""
        goal = KINDS[fault.kind].goal
        if goal is not None and goal.at_end:
            self.reach(goal.name)

    def control_plane_started(self, run: ControlPlaneRun, workers: int) -> None:
        """Count a start of `run` over a disk that has `workers` workers."""
        if run.node.starts > 1:
            self.reach("control-plane-restarted")
            if workers:
                self.reach("restarted-with-workers")

    def lost_power(self, written: int, kept: int) -> None:
        """Count a loss of power at which `kept` of `written` changes reached the disk."""
        if written and not kept:
            self.reach("lost-write")
        elif kept < written:
            self.reach("torn-write")

    def call_failed(self, error: str) -> None:
        """Count a failed call of a worker by its error."""
        if "DEADLINE_EXCEEDED" in error:
            self.reach("deadline-exceeded")
        elif "reset" in error:
            self.reach("connection-reset")
        elif "UNAVAILABLE" in error:
            self.reach("refused-connection")
