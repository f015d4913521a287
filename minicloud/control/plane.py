"""This module joins the parts of one control plane, for the program and for the simulator.

The outside world is passed in: the store, time and chance. A new control plane runs nothing yet: its owner
starts `store.run` and `sweeper.run` in a nursery.
"""

from __future__ import annotations

from random import Random

from minicloud.clock import Clock
from minicloud.control.event_log import log_stall
from minicloud.control.feed import EventFeed
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.service import WorkerManagementService
from minicloud.control.sweeper import Sweeper
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.registry import DEFAULT_MAX_WORKERS, Registry
from minicloud.store.port import Snapshot, Store


def incarnation_floor(snapshot: Snapshot, clock: Clock) -> int:
    """Return the floor of the incarnations of this run: the greater of the kept one and the Unix milliseconds
    of now.

    So every earlier incarnation is fenced, also where the registry was lost or came back from a backup
    (DESIGN 11).
    """
    return max(snapshot.incarnation_floor, int(clock.wall_s() * 1000))


_EMPTY = Snapshot()


class ControlPlane:
    """This is one control plane over `store`, for up to `max_workers` workers.

    `snapshot` is the content of the store, as its `load` returned it.
    """

    def __init__(
        self,
        policy: LivenessPolicy,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        *,
        snapshot: Snapshot = _EMPTY,
        max_workers: int = DEFAULT_MAX_WORKERS,
    ) -> None:
        registry = Registry(
            policy,
            incarnation_floor(snapshot, clock),
            run=snapshot.runs[-1].number + 1 if snapshot.runs else 1,
            max_workers=max_workers,
        )
        self.store = store
        self.metrics = metrics
        self.membership = Membership(
            registry,
            store,
            clock,
            swept=metrics.sweep,
        )
        self.membership.on_stall(metrics.stall)
        self.membership.on_stall(log_stall)
        self.membership.restore(snapshot)
        self.feed = EventFeed(snapshot.entries, snapshot.last_event_id)
        self.membership.subscribe(self.feed.publish)
        metrics.watch(self.membership)
        self.sweeper = Sweeper(self.membership)
        self.service = WorkerManagementService(self.membership, metrics, random)
