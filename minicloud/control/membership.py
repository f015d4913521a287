"""Every change of membership goes through `execute`, and every read through `sweep_due`.

A change is decided, applied, appended to the store and published in one uninterrupted step, so no reader sees
half a change (DESIGN 5). The caller waits on `durable()` before it answers. What is due is swept before
anything is decided or read (DESIGN 9).

Deadlines count the time during which the control plane listened (DESIGN 61). The sweeper announces when the
loop will run again (`awake_by`). A stall that `core.liveness.attention` finds moves every deadline by its
length before anything is swept.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from minicloud.clock import Clock, WallAnchor
from minicloud.control.records import from_stored, to_stored
from minicloud.core.commands import Command, Heartbeat, Sweep
from minicloud.core.errors import DisplacedError
from minicloud.core.events import (
    AdminChanged,
    DepartureExpired,
    Event,
    LeaseExpired,
    LeaseRenewed,
    RivalHeard,
    WorkerDeparted,
    WorkerHeard,
    WorkerLeaving,
    WorkerLoaded,
    WorkerRecovered,
    WorkerRegistered,
)
from minicloud.core.liveness.attention import Attention
from minicloud.core.liveness.grace import Run, grace_s, marks_s, remaining_grace_s
from minicloud.core.model import SHUTTING_DOWN, Admin, ClusterStats, Health, Status, WorkerId
from minicloud.core.registry import Registry
from minicloud.core.stats import cluster_stats
from minicloud.request_id import current_request_id
from minicloud.store.port import Change, MembershipEvent, Snapshot, Store

Subscriber = Callable[[MembershipEvent], None]
SweepObserver = Callable[[float, float], None]
StallObserver = Callable[[float], None]


def _unobserved_sweep(duration_s: float, lateness_s: float) -> None: ...


class Membership:
    """This is the membership of one control plane.

    Subscribers are called in order, in the same step as the change. They must not wait, raise, read or
    execute. `swept` is called for each sweep with its duration and with its lateness after the earliest
    deadline, in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        clock: Clock,
        *,
        swept: SweepObserver = _unobserved_sweep,
    ) -> None:
        self.clock = clock
        self.wall = WallAnchor(clock)
        self.policy = registry.policy
        self._registry = registry
        self._store = store
        self._subscribers: list[Subscriber] = []
        self._last_event_id = 0
        self._swept = swept
        self._stall_observers: list[StallObserver] = []
        timeout_s = registry.policy.heartbeat_timeout_s
        self._attention = Attention(marks_s(timeout_s, timeout_s))
        # Before this moment nothing is due and no stall has happened. A renewal only makes deadlines later,
        # so a heartbeat costs one comparison; every other change computes this again.
        self._quiet_until_s = -math.inf

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with the entry of every change from now on."""
        self._subscribers.append(subscriber)

    def on_stall(self, observer: StallObserver) -> None:
        """Call `observer` with the length of each stall from now on, in seconds. It must not wait, raise,
        read or execute."""
        self._stall_observers.append(observer)

    def restore(self, snapshot: Snapshot) -> None:
        """Restore what a store kept. Every worker keeps its status; a HEALTHY one gets what is left of its
        grace (DESIGN 62)."""
        now_s = self.clock.monotonic_s()
        self._last_event_id = snapshot.last_event_id
        grace = grace_s(self.policy, snapshot.runs)
        self._attention = Attention(marks_s(self.policy.heartbeat_timeout_s, grace))
        restored = []
        for stored in snapshot.workers:
            worker = from_stored(stored, self.wall, now_s)
            lease_until_s = now_s + remaining_grace_s(stored.heard_run, grace, snapshot.runs)
            if worker.departed is not None:
                since_s = worker.departed.at_s
            elif worker.health is Health.UNHEALTHY:
                since_s = worker.health_since_s
            else:
                since_s = lease_until_s
            restored.append((since_s, WorkerLoaded(worker.worker_id, now_s, worker, lease_until_s)))
        # `Deadlines` are set in the order of time. Departed workers come first, so that the id book maps an
        # installation to its present worker.
        for _, event in sorted(restored, key=lambda each: (each[1].worker.departed is None, each[0])):
            self._registry.apply(event)
        self._quiet_until_s = -math.inf

    def sweep_due(self) -> Registry:
        """Sweep what is due, and return the registry to read as of this moment."""
        self._swept_now()
        return self._registry

    @property
    def registry(self) -> Registry:
        """Return the registry as the last call left it: right after `execute`, nothing is due."""
        return self._registry

    def awake_by(self, at_s: float) -> None:
        """Announce that the loop will run again by `at_s`, and count how long it has listened."""
        self._attention.awake_by(self._swept_now(), at_s)
        self._quiet_until_s = -math.inf
        listened_ms = self._attention.mark_ms()
        if listened_ms is not None:
            self._note_run(listened_ms)

    def next_deadline_s(self) -> float:
        """Return the instant of the next deadline; infinity if there is none. This sweeps nothing."""
        return self._registry.next_deadline_s()

    def stats(self) -> ClusterStats:
        """Return the cluster's statistics as of this moment."""
        return cluster_stats(self.sweep_due().workers(), self.clock.monotonic_s())

    def execute(self, command: Command) -> tuple[Event, ...]:
        """Carry out `command` and return its events.

        Raise what `Registry.decide` raises. Raise `StoreUnavailableError`, with nothing changed, where the
        command has to be durable and the store cannot write. The events are not durable yet: the caller waits
        on `durable()` before it answers.
        """
        registry = self._registry
        now_s = self._swept_now()
        try:
            events = registry.decide(command, now_s)
        except DisplacedError as error:
            registry.apply(RivalHeard(WorkerId(error.worker_id), now_s))
            raise
        # Heartbeats and expiry go on while the store cannot write, as both happen again after a crash (DESIGN
        # 79). Every other command is refused.
        if events and type(command) not in (Heartbeat, Sweep):
            self._store.check_accepting()
        for event in events:
            if type(event) is LeaseRenewed:
                registry.apply(event)
            else:
                self._carry_out(event, current_request_id())
        return events

    async def durable(self) -> None:
        """Return once everything executed before this call is durable. Raise `StoreUnavailableError` where
        the store cannot write at present."""
        await self._store.flushed()

    @property
    def durable_event_id(self) -> int:
        """Return the id of the newest durable entry; 0 if there is none."""
        return self._store.durable_event_id

    def _swept_now(self) -> float:
        """Compensate a stall, sweep what is due, and return the present moment."""
        now_s = self.clock.monotonic_s()
        if now_s < self._quiet_until_s:
            return now_s
        stall_s = self._attention.stall_s(now_s)
        if stall_s:
            self._compensate(stall_s)
        # A gap longer than the retention takes two sweeps: the first expires a worker, the second forgets it.
        while (next_s := self._registry.next_deadline_s()) <= now_s:
            self._sweep(now_s)
        self._quiet_until_s = min(next_s, self._attention.stalled_from_s)
        return now_s

    def _compensate(self, stall_s: float) -> None:
        self._registry.postpone(stall_s)
        for observer in self._stall_observers:
            observer(stall_s)

    def _sweep(self, now_s: float) -> None:
        lateness_s = now_s - self._registry.next_deadline_s()
        for event in self._registry.decide(Sweep(), now_s):
            self._carry_out(event, request_id="")
        self._swept(self.clock.monotonic_s() - now_s, lateness_s)

    def _note_run(self, listened_ms: int) -> None:
        """Store how long this run has listened, and the interval that workers have to keep."""
        run = Run(self._registry.run, listened_ms, round(self.policy.heartbeat_interval_s * 1000))
        self._store.append(Change("", None, self._registry.incarnation_floor, run=run))

    def _carry_out(self, event: Event, request_id: str) -> None:
        self._quiet_until_s = -math.inf
        worker_id = event.worker_id
        before = self._registry.known(worker_id)
        old_status = before.status if before is not None else Status.OFFLINE
        self._registry.apply(event)
        after = self._registry.known(worker_id)
        shown = after if after is not None else before
        assert shown is not None, "an event names a worker that exists before or after it"
        entry = None
        if not isinstance(event, WorkerHeard | DepartureExpired):
            kind, detail, reason = _description(event)
            self._last_event_id += 1
            entry = MembershipEvent(
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
        stored = to_stored(after, self.wall) if after is not None else None
        # `append` only queues and cannot fail, so it can take the record as it is after the change.
        self._store.append(Change(worker_id, stored, self._registry.incarnation_floor, entry))
        if entry is not None:
            for subscriber in self._subscribers:
                subscriber(entry)


_ADMIN_KINDS = {Admin.ACTIVE: "uncordoned", Admin.CORDONED: "cordoned", Admin.DRAINING: "draining"}


def _description(event: Event) -> tuple[str, str, str]:
    """Return the kind, detail and reason of the entry of `event`; an empty reason means the worker's own."""
    match event:
        case WorkerRegistered():
            return "registered", event.registration, ""
        case WorkerDeparted():
            return "departed", event.departure, event.reason
        case LeaseExpired():
            return "unhealthy", "", event.reason
        case WorkerRecovered():
            return "recovered", "", event.reason
        case WorkerLeaving():
            return "leaving", "", SHUTTING_DOWN
        case AdminChanged():
            return _ADMIN_KINDS[event.admin], "", event.reason
        case _:
            raise AssertionError(f"{type(event).__name__} has no entry")
