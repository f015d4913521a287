"""The one door to membership: every command goes through `execute`, every reader through `registry`.

The order of a change: decide, apply, append to the store, tell the subscribers; the caller then waits on
`durable()` before it answers for it. All but that wait is one uninterrupted step, so nobody ever sees half
a change, and nothing is seen past its deadline: what is due is swept before anything is decided or read.
"""

from __future__ import annotations

from collections.abc import Callable

from minicloud.clock import Clock, WallAnchor
from minicloud.core.commands import Command, Sweep
from minicloud.core.events import (
    AdminChanged,
    Event,
    LeaseExpired,
    LeaseRenewed,
    LeaseRestored,
    WorkerDeparted,
    WorkerRegistered,
    WorkerRestored,
)
from minicloud.core.model import Admin, ClusterStats, Status, Worker
from minicloud.core.registry import Registry
from minicloud.core.stats import cluster_stats
from minicloud.request_id import current_request_id
from minicloud.store.port import Change, Entry, Snapshot, Store, StoredWorker

Subscriber = Callable[[Entry], None]
SweepObserver = Callable[[float, float], None]


def _unobserved(duration_s: float, lateness_s: float) -> None: ...


class Membership:
    """Membership of one control plane.

    `heartbeat_interval_s` is what workers are told to keep. Subscribers are called in order, in the same
    step as the change, and must neither wait, nor raise, nor read or execute in their turn. `swept` is
    told of each sweep how long it took and how long after the earliest deadline it began, in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        clock: Clock,
        *,
        heartbeat_interval_s: float = 30.0,
        swept: SweepObserver = _unobserved,
    ) -> None:
        self.clock = clock
        self.wall = WallAnchor(clock)
        self.heartbeat_interval_s = heartbeat_interval_s
        self._registry = registry
        self._store = store
        self._subscribers: list[Subscriber] = []
        self._last_event_id = 0
        self._swept = swept

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber` called with the entry of every change from now on."""
        self._subscribers.append(subscriber)

    def restore(self, snapshot: Snapshot) -> None:
        """Take up what a store kept. Every worker keeps its status; leases start anew, in full."""
        now_s = self.clock.monotonic_s()
        self._last_event_id = snapshot.last_event_id
        # Deadlines are set in the order of time, as `core.leases` asks.
        for stored in sorted(snapshot.workers, key=lambda worker: worker.health_since_ms):
            worker = self._from_stored(stored, now_s)
            self._registry.apply(WorkerRestored(worker.worker_id, now_s, worker))

    @property
    def registry(self) -> Registry:
        """The registry to read, as of this moment: what has fallen due is swept first."""
        now_s = self.clock.monotonic_s()
        self._sweep_what_is_due(now_s)
        return self._registry

    @property
    def executed(self) -> Registry:
        """The registry as `execute` left it, to read in the step in which that returned: nothing is due."""
        return self._registry

    def next_deadline_s(self) -> float:
        """When there will next be something to sweep; infinity if never. Sweeps nothing itself."""
        return self._registry.next_deadline_s()

    def stats(self) -> ClusterStats:
        """The cluster's statistics as of this moment."""
        return cluster_stats(self.registry.workers(), self.clock.monotonic_s())

    def execute(self, command: Command) -> tuple[Event, ...]:
        """Carry `command` out and answer with what happened; raises what `Registry.decide` raises.

        What happened is not durable yet: wait on `durable()` before telling anyone outside.
        """
        now_s = self.clock.monotonic_s()
        registry = self._registry
        self._sweep_what_is_due(now_s)
        events = registry.decide(command, now_s)
        for event in events:
            if type(event) is LeaseRenewed:
                registry.apply(event)
            else:
                self._carry_out(event, current_request_id())
        return events

    async def durable(self) -> None:
        """Return once everything executed before this call is durable."""
        await self._store.flushed()

    def _sweep_what_is_due(self, now_s: float) -> None:
        # Twice after a gap longer than the retention: what the first one expires, the second one forgets.
        while self._registry.next_deadline_s() <= now_s:
            self._sweep(now_s)

    def _sweep(self, now_s: float) -> None:
        lateness_s = now_s - self._registry.next_deadline_s()
        for event in self._registry.decide(Sweep(), now_s):
            self._carry_out(event, request_id="")
        self._swept(self.clock.monotonic_s() - now_s, lateness_s)

    def _carry_out(self, event: Event, request_id: str) -> None:
        worker_id = event.worker_id
        before = self._registry.get(worker_id)
        old_status = before.status if before is not None else Status.OFFLINE
        self._registry.apply(event)
        after = self._registry.get(worker_id)
        shown = after if after is not None else before
        assert shown is not None, "an event names a worker that is there before or after it"
        kind, detail, reason = _told(event)
        self._last_event_id += 1
        entry = Entry(
            event_id=self._last_event_id,
            at_ms=self.wall.unix_ms(event.at_s),
            kind=kind,
            detail=detail,
            worker_id=worker_id,
            incarnation=shown.incarnation,
            endpoint=shown.endpoint,
            old_status=old_status,
            new_status=after.status if after is not None else Status.OFFLINE,
            reason=reason or shown.status_reason,
            request_id=request_id,
        )
        stored = self._to_stored(after) if after is not None else None
        # `append` only queues and cannot fail, so that the record after the change can be what it takes.
        self._store.append(Change(entry, stored, self._registry.incarnation_floor))
        for subscriber in self._subscribers:
            subscriber(entry)

    def _to_stored(self, worker: Worker) -> StoredWorker:
        unix_ms = self.wall.unix_ms
        return StoredWorker(
            worker_id=worker.worker_id,
            endpoint=worker.endpoint,
            instance_id=worker.instance_id,
            wanted_id=worker.wanted_id,
            metadata=worker.metadata,
            incarnation=worker.incarnation,
            registered_at_ms=unix_ms(worker.registered_at_s),
            last_heartbeat_ms=unix_ms(worker.last_heartbeat_s),
            health=worker.health,
            health_reason=worker.health_reason,
            health_since_ms=unix_ms(worker.health_since_s),
            admin=worker.admin,
            admin_reason=worker.admin_reason,
            admin_since_ms=unix_ms(worker.admin_since_s),
            resources=worker.resources,
        )

    def _from_stored(self, stored: StoredWorker, now_s: float) -> Worker:
        def monotonic_s(unix_ms: int) -> float:
            return min(self.wall.monotonic_s(unix_ms), now_s)  # the wall clock may have been set back since

        return Worker(
            worker_id=stored.worker_id,
            endpoint=stored.endpoint,
            instance_id=stored.instance_id,
            wanted_id=stored.wanted_id,
            metadata=stored.metadata,
            incarnation=stored.incarnation,
            registered_at_s=monotonic_s(stored.registered_at_ms),
            last_heartbeat_s=monotonic_s(stored.last_heartbeat_ms),
            health=stored.health,
            health_reason=stored.health_reason,
            health_since_s=monotonic_s(stored.health_since_ms),
            admin=stored.admin,
            admin_reason=stored.admin_reason,
            admin_since_s=monotonic_s(stored.admin_since_ms),
            resources=stored.resources,
        )


_ADMIN_KINDS = {Admin.ACTIVE: "uncordoned", Admin.CORDONED: "cordoned", Admin.DRAINING: "draining"}


def _told(event: Event) -> tuple[str, str, str]:
    """An event as kind, detail and reason of its entry; an empty reason is the worker's own."""
    match event:
        case WorkerRegistered():
            return "registered", event.registration, ""
        case WorkerDeparted():
            return "departed", event.departure, event.reason
        case LeaseExpired():
            return "unhealthy", "", event.reason
        case LeaseRestored():
            return "recovered", "", event.reason
        case AdminChanged():
            return _ADMIN_KINDS[event.admin], "", event.reason
        case _:
            raise AssertionError(f"{type(event).__name__} has no entry")
