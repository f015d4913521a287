"""The failure detector infers from silence that a worker has failed.

Always holds: a worker is in one of three rings (leases, graces, retentions) or in none; a verdict has the
time at which the deadline passed, even if the sweep is late (`tests/unit/core/test_registry_model.py`
compares it with a model).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from minicloud.core.liveness.deadlines import Deadline, Deadlines
from minicloud.core.liveness.policy import LivenessPolicy


class Expired(NamedTuple):
    """The lease of a worker ended at `at_s`: the worker is UNHEALTHY from then on."""

    worker_id: str
    at_s: float
    reason: str


class Forgotten(NamedTuple):
    """The retention of an UNHEALTHY worker ended at `at_s`."""

    worker_id: str
    at_s: float
    reason: str


class Detector:
    """A `Detector` keeps a deadline for each registered worker, and finds those that have passed. Every call
    costs O(1), `due` O(found)."""

    def __init__(self, policy: LivenessPolicy) -> None:
        self._leases = Deadlines(policy.heartbeat_timeout_s)
        self._graces = Deadlines(0.0)  # leases of workers not heard since the start, each with its own end
        self._retentions = Deadlines(policy.retention_s)
        self._silent = f"no heartbeat for {policy.heartbeat_timeout_s:g} s"
        self._forgotten = f"UNHEALTHY for {policy.retention_s:g} s"
        self.renew = self._leases.start  # bound here: it runs for every heartbeat

    def grant_grace(self, deadline: Deadline, until_s: float) -> None:
        """Give a worker that an earlier run of the control plane registered a lease until `until_s`."""
        self._graces.start(deadline, until_s)

    def retain(self, deadline: Deadline, since_s: float) -> None:
        """Keep a worker that is UNHEALTHY since `since_s` for the retention."""
        self._retentions.start(deadline, since_s)

    @property
    def has_leases(self) -> bool:
        """Return True if any worker is HEALTHY."""
        return self._leases.next_s() < math.inf or self._graces.next_s() < math.inf

    def next_s(self) -> float:
        """Return the earliest deadline, infinity if there is none."""
        return min(self._leases.next_s(), self._graces.next_s(), self._retentions.next_s())

    def due(self, now_s: float) -> list[Expired | Forgotten]:
        """Return the verdicts on workers whose deadline is `now_s` or has passed: first the leases that have
        ended, in the order of time, then the workers to forget."""
        expired = [Expired(owner, due_s, self._silent) for owner, due_s in self._leases.due(now_s)]
        unheard = "no heartbeat since the control plane started"
        expired += [Expired(owner, due_s, unheard) for owner, due_s in self._graces.due(now_s)]
        expired.sort(key=lambda verdict: verdict.at_s)  # retentions start in the order of time
        forgotten = [Forgotten(owner, due_s, self._forgotten) for owner, due_s in self._retentions.due(now_s)]
        return [*expired, *forgotten]

    def stalled(self, gap_s: float) -> None:
        """Move every deadline by `gap_s`, the time for which the control plane did not listen."""
        for deadlines in (self._leases, self._graces, self._retentions):
            deadlines.postpone(gap_s)
