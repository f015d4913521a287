"""The parts of one control plane, joined: what the program runs, and the simulator runs in its place.

Everything of the outside world is passed in: where changes are kept, time, chance. Nothing runs yet when it
has been made; `store.run` and `sweeper.run` are whoever's nursery holds them to start.
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
    """What every incarnation given from this start on is above: all that was kept, and Unix milliseconds now.

    So whoever was given an incarnation before is fenced although the registry that gave it was lost, or has
    come back as it was in a backup: no id is registered again a thousand times a second for as long as a
    control plane runs. Two can hold one incarnation of an id only where the wall clock, too, was set back.
    In JSON, too, the figures are exact: below 2^53 for 280,000 years.
    """
    return max(snapshot.incarnation_floor, int(clock.wall_s() * 1000))


_EMPTY = Snapshot()


class ControlPlane:
    """One control plane over `store`, for up to `max_workers` workers.

    `snapshot` is the content of the store as its `load` returned it.
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
