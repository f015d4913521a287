"""Coverage goals: things that have to happen for a run to have shown anything.

    missed_goals(hits, ("expired", "stale-heartbeat"), "wire")  # ("expired",) where no worker expired

A scenario names its goals under the key `probes`. A goal that is never reached makes the run inconclusive: no
promise was broken, and none was put to the test either.
"""

from __future__ import annotations

from collections.abc import Mapping

from sim.net.depths import DepthName

GOALS: dict[str, str] = {
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


def missed_goals(hits: Mapping[str, int], wanted: tuple[str, ...], depth: DepthName) -> tuple[str, ...]:
    """The goals among `wanted` that were not reached, and that can be at that depth."""
    impossible = MESSAGES_ALONE if depth == "wire" else frozenset()
    return tuple(name for name in wanted if not hits[name] and name not in impossible)
