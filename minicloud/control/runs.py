"""The runs of a control plane: how long each one listened, and what that leaves of a silent worker's grace.

After a start every worker that was HEALTHY gets a grace, as nobody knows when it was last heard: heartbeats
are not stored. A worker that was not heard in an earlier run has used up a part of its grace there. So a
control plane that starts again and again declares a dead worker UNHEALTHY after `grace_s` of listening, in
however many runs.

How long a run listened is stored at its start, counted as a second, and at moments that grow apart
(`marks_s`), as a run may end without notice. A run that is killed is therefore counted too short by an eighth
of the timeout at most, and a dead worker stays HEALTHY that much longer for each start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minicloud.store.port import Run

FIRST_MARK_S = 1.0


def grace_s(timeout_s: float, runs: Sequence[Run]) -> float:
    """The grace after a start: the timeout, or twice the interval told in the run before if that is longer.

    Workers keep the interval they were told until they hear of another one, so a start with shorter timers
    has to wait for them (Nomad grants such a longer time to live after a failover, too).
    """
    told_ms = runs[-1].heartbeat_interval_ms if runs else 0
    return max(timeout_s, 2 * told_ms / 1000)


def remaining_grace_s(heard_run: int, grace_s: float, runs: Sequence[Run]) -> float:
    """How much of its grace is left to a worker that was last heard in the run `heard_run`; 0 or more."""
    silent_ms = sum(run.listened_ms for run in runs if run.number > heard_run)
    return max(0.0, grace_s - silent_ms / 1000)


def marks_s(timeout_s: float, grace_s: float) -> Iterator[float]:
    """When to store how long a run has listened, in seconds of listening: doubling from a second on, an
    eighth of the timeout apart at most, and no more once the grace is used up."""
    mark_s = FIRST_MARK_S
    while True:
        yield mark_s
        if mark_s >= grace_s:
            return
        mark_s += min(mark_s, timeout_s / 8)
