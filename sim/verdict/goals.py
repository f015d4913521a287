"""Probes: things that must have happened for a run to have shown anything.

A scenario names those it is about. One that was never hit makes the run inconclusive: no promise was broken,
and none was put to the test either.
"""

from __future__ import annotations

from collections.abc import Mapping

from minicloud.store.port import Entry
from sim.cluster.control_plane import ControlPlaneRun
from sim.net.depths import DepthName
from sim.oracle.model import Verdict

PROBES: dict[str, str] = {
    "registered": "a worker was registered",
    "heartbeats": "a heartbeat was accepted",
    "expired": "a worker was declared UNHEALTHY",
    "lost-for-good": "in calm, a registered worker was looked at that had been silent for the timeout",
    "recovered": "an UNHEALTHY worker was HEALTHY again after a heartbeat",
    "registered-again": "an installation got its id again, in a new incarnation",
    "taken-over": "a silent worker's id was given to another installation",
    "renamed": "a worker got a variant of the id it wanted, which a live one has",
    "fenced": "a message of an older incarnation was refused",
    "told-to-register": "a heartbeat of nobody registered was answered with an order to register",
    "drained": "a worker left because an operator drained it",
    "cordoned": "an operator cordoned a worker",
    "removed": "an operator struck a worker off",
    "forgotten": "a worker that stayed UNHEALTHY was forgotten",
    "stale-heartbeat": "a heartbeat came after it, or a later one, had been counted",
    "overtaken-heartbeat": "a heartbeat came after a later one",
    "duplicate-delivered": "the heartbeat counted last was delivered again",
    "control-plane-restarted": "a control plane started over what its disk had kept",
    "restarted-with-workers": "and knew workers from before",
    "control-plane-paused": "the control plane stood still",
    "sweep-while-paused": "a lease ended while the control plane stood still",
    "store-failed": "the control plane could not write its registry",
    "lost-write": "power was lost with changes not yet on the disk, and none of them was there after it",
    "torn-write": "power was lost with changes not yet on the disk, and only some were there after it",
    "disk-wiped": "the control plane's disk came back empty",
    "disk-restored": "the control plane's disk came back as it was in a backup",
    "restarted-worker": "a worker's program started again on its machine",
    "refused-connection": "a worker's call found no control plane",
    "connection-reset": "a worker's call was cut off",
    "deadline-exceeded": "a worker's call was not answered in time",
    "clock-stepped": "a wall clock was set",
    "clock-drifted": "a clock ran fast or slow",
}

# No HTTP/2 connection doubles a message or lets one overtake another.
MESSAGES_ALONE = frozenset({"stale-heartbeat", "overtaken-heartbeat", "duplicate-delivered"})

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
_FAULTS = {"clock-step": "clock-stepped", "clock-drift": "clock-drifted"}


class Probes:
    """How often each was hit. The oracle tells it what it sees."""

    def __init__(self) -> None:
        self.hits = dict.fromkeys(PROBES, 0)

    def hit(self, name: str) -> None:
        """It has happened."""
        self.hits[name] += 1

    def missed(self, wanted: tuple[str, ...], depth: DepthName) -> tuple[str, ...]:
        """Those of `wanted` that never were, and can be at that depth."""
        impossible = MESSAGES_ALONE if depth == "wire" else frozenset()
        return tuple(name for name in wanted if not self.hits[name] and name not in impossible)

    def changed(self, entry: Entry) -> None:
        """Membership has changed."""
        if entry.kind == "registered":
            self.hit("registered")
        name = _ENTRIES.get((entry.kind, entry.detail))
        if name is not None:
            self.hit(name)

    def counted(self, heartbeats: Mapping[Verdict, int]) -> None:
        """The heartbeats of the run, by what had to become of them, are these."""
        self.hits["heartbeats"] = heartbeats[Verdict.ACCEPTED]
        self.hits["stale-heartbeat"] = heartbeats[Verdict.STALE] + heartbeats[Verdict.DUPLICATE]
        self.hits["overtaken-heartbeat"] = heartbeats[Verdict.STALE]
        self.hits["duplicate-delivered"] = heartbeats[Verdict.DUPLICATE]
        self.hits["fenced"] = heartbeats[Verdict.FENCED]
        self.hits["told-to-register"] = heartbeats[Verdict.UNKNOWN]

    def fault(self, kind: str) -> None:
        """A fault has begun."""
        if kind in _FAULTS:
            self.hit(_FAULTS[kind])

    def control_plane_started(self, run: ControlPlaneRun, workers: int) -> None:
        """It has loaded what there was of that many workers."""
        if run.node.starts > 1:
            self.hit("control-plane-restarted")
            if workers:
                self.hit("restarted-with-workers")

    def lost_power(self, written: int, kept: int) -> None:
        """Of `written` changes that were on their way to the disk, `kept` are on it."""
        if written and not kept:
            self.hit("lost-write")
        elif kept < written:
            self.hit("torn-write")

    def call_failed(self, error: str) -> None:
        """A worker was told so."""
        if "DEADLINE_EXCEEDED" in error:
            self.hit("deadline-exceeded")
        elif "reset" in error:
            self.hit("connection-reset")
        elif "UNAVAILABLE" in error:
            self.hit("refused-connection")
