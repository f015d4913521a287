"""The sweeper is the task that sweeps at each deadline, and looks at the clock in between.

Always holds: it sleeps until the earliest deadline at the latest (`tests/unit/control/test_service.py`).
Renewals only make deadlines later, so they do not wake it. A change that brings an earlier deadline (the
first worker of an empty cluster) ends its sleep. While any worker has a lease it wakes every
`LivenessPolicy.look_s` seconds, so that membership notices when the loop has not run.
"""

from __future__ import annotations

import math

import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.control.membership import Membership
from minicloud.store.port import MembershipEvent


class Sweeper:
    """The sweeper sweeps `membership`, on membership's clock."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._asleep_until_s = -math.inf
        self._sleep = trio.CancelScope()
        membership.subscribe(self._on_entry)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        while True:
            membership = self._membership
            deadline_s = membership.sweep_due().next_deadline_s()
            if membership.registry.has_leases:
                deadline_s = min(deadline_s, membership.clock.monotonic_s() + membership.policy.look_s)
            self._asleep_until_s = deadline_s
            membership.awake_by(self._asleep_until_s)
            with trio.CancelScope() as self._sleep:
                await membership.clock.sleep_until(self._asleep_until_s)

    def _on_entry(self, entry: MembershipEvent) -> None:
        if self._membership.next_deadline_s() < self._asleep_until_s:
            self._sleep.cancel()
