"""The task that sweeps at each deadline. It sleeps until the next one, however far away; it does not poll.

Always holds: it is asleep until no later than the earliest deadline there is. Renewals only move deadlines
back, so nothing wakes it for them; a change that brings an earlier one (the first worker of an empty
cluster) ends its sleep.
"""

from __future__ import annotations

import math

import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.control.membership import Membership
from minicloud.store.port import Entry


class Sweeper:
    """Sweeps `membership` on its own clock."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._asleep_until_s = -math.inf
        self._sleep = trio.CancelScope()
        membership.subscribe(self._on_entry)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        while True:
            self._asleep_until_s = self._membership.registry.next_deadline_s()  # reading it sweeps
            with trio.CancelScope() as self._sleep:
                await self._membership.clock.sleep_until(self._asleep_until_s)

    def _on_entry(self, entry: Entry) -> None:
        if self._membership.next_deadline_s() < self._asleep_until_s:
            self._sleep.cancel()
