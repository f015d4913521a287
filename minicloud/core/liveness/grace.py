"""This module computes the grace of a worker after starts of the control plane (DESIGN 62).

Heartbeats are not stored, so every worker that was HEALTHY gets a grace after a start. The time that earlier
runs listened without a heartbeat of the worker is taken off, so a dead worker is UNHEALTHY after one grace of
listening in however many runs.

A run may be killed, so how long it listened is stored at its start, as `FIRST_MARK_S`, and at `marks_s`. A
killed run counts too short by an eighth of the timeout at most, and a dead worker stays HEALTHY that much
longer for each start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minicloud.core.liveness.policy import FIRST_MARK_S, MARKS_PER_TIMEOUT, LivenessPolicy


@dataclass(frozen=True, slots=True)
class Run:
    """A `Run` is one run of a control plane.

    `number` rises by one a run. `listened_ms` is a lower bound of the time it listened to workers, and
    `heartbeat_interval_ms` is the interval in its answers to them.
    """

    number: int
    listened_ms: int
    heartbeat_interval_ms: int


def grace_s(policy: LivenessPolicy, runs: Sequence[Run]) -> float:
    """Return the grace after `runs`, oldest first, in seconds."""
    return policy.grace_s(runs[-1].heartbeat_interval_ms / 1000 if runs else 0.0)


def remaining_grace_s(heard_run: int, grace_s: float, runs: Sequence[Run]) -> float:
    """Return the rest, 0 or more, of the grace of a worker that was last heard in the run `heard_run`."""
    silent_ms = sum(run.listened_ms for run in runs if run.number > heard_run)
    return max(0.0, grace_s - silent_ms / 1000)


def marks_s(timeout_s: float, grace_s: float) -> Iterator[float]:
    """Yield the times at which to store how long a run has listened, in seconds of listening.

    They double from `FIRST_MARK_S` on, lie an eighth of `timeout_s` apart at most, and end with the grace.
    """
    mark_s = FIRST_MARK_S
    while True:
        yield mark_s
        if mark_s >= grace_s:
            return
        mark_s += min(mark_s, timeout_s / MARKS_PER_TIMEOUT)
