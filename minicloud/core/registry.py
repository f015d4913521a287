"""The registry of workers: decides what a command does, and holds what came of it.

`decide(command, now_s)` changes nothing and answers with events, or raises; `apply(event)` alone changes
state, and is also replay. Always holds: healthy + unhealthy + draining = registered; a worker has a lease
exactly while it is HEALTHY by health; incarnations of an id only rise, also over its departure, and every one
that is given is above the floor.

Callers sweep before they decide or read, so that nothing is ever seen past its deadline (`next_deadline_s`
says whether there is anything to sweep).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from minicloud.core.commands import (
    MAX_REASON_CHARS,
    Command,
    Cordon,
    Deregister,
    Drain,
    Heartbeat,
    Register,
    Remove,
    Sweep,
    Uncordon,
)
from minicloud.core.errors import FencedError, UnknownWorkerError
from minicloud.core.events import (
    AdminChanged,
    Departure,
    Event,
    LeaseExpired,
    LeaseRenewed,
    LeaseRestored,
    Registration,
    WorkerDeparted,
    WorkerRegistered,
    WorkerRestored,
)
from minicloud.core.ids import IdBook
from minicloud.core.leases import Deadlines
from minicloud.core.model import Admin, Health, Worker, WorkerId

DEFAULT_HEARTBEAT_TIMEOUT_S = 120.0
DEFAULT_RETENTION_S = 24 * 3600.0

_NO_EVENTS: tuple[Event, ...] = ()


class Registry:
    """Every registered worker, its lease and its history's floor.

    `heartbeat_timeout_s`: silence after which a worker is UNHEALTHY. `retention_s`: how long an UNHEALTHY
    one is kept before it is forgotten. `incarnation_floor`: at least every incarnation that was ever given
    and is not of a worker restored into this registry; 0 or more.
    """

    def __init__(
        self,
        heartbeat_timeout_s: float = DEFAULT_HEARTBEAT_TIMEOUT_S,
        retention_s: float = DEFAULT_RETENTION_S,
        incarnation_floor: int = 0,
    ) -> None:
        self._workers: dict[WorkerId, Worker] = {}
        self._sorted_ids: list[WorkerId] = []
        self._ids = IdBook()
        self._leases = Deadlines(heartbeat_timeout_s)
        self._retentions = Deadlines(retention_s)
        self._incarnation_floor = incarnation_floor
        self._deciders: dict[type, Callable[[Any, float], tuple[Event, ...]]] = {
            Heartbeat: self._decide_heartbeat,
            Register: self._decide_register,
            Deregister: self._decide_deregister,
            Cordon: self._decide_cordon,
            Uncordon: self._decide_uncordon,
            Drain: self._decide_drain,
            Remove: self._decide_remove,
            Sweep: self._decide_sweep,
        }
        self._appliers: dict[type, Callable[[Any], None]] = {
            LeaseRenewed: self._apply_renewed,
            LeaseExpired: self._apply_expired,
            LeaseRestored: self._apply_restored_lease,
            WorkerRegistered: self._apply_registered,
            WorkerRestored: self._apply_restored,
            AdminChanged: self._apply_admin,
            WorkerDeparted: self._apply_departed,
        }

    # What is there

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker_id: str) -> Worker | None:
        """The worker of that id, if it is registered."""
        return self._workers.get(WorkerId(worker_id))

    def workers(self, after: str = "") -> Iterator[Worker]:
        """Every worker in the order of ids, from the first one greater than `after` on.

        Membership must not change while this is being iterated.
        """
        start = bisect_right(self._sorted_ids, after) if after else 0
        for index in range(start, len(self._sorted_ids)):
            yield self._workers[self._sorted_ids[index]]

    def schedulable_workers(self) -> Iterator[Worker]:
        """Those that may be given new work: HEALTHY, neither cordoned nor draining."""
        return (worker for worker in self.workers() if worker.schedulable)

    @property
    def incarnation_floor(self) -> int:
        """What it was at the start, or the highest incarnation of any worker that has left since; what is
        registered is given a higher one.

        One figure for all ids fences the messages of every departed worker without remembering each.
        """
        return self._incarnation_floor

    @property
    def heartbeat_timeout_s(self) -> float:
        return self._leases.length_s

    def next_deadline_s(self) -> float:
        """When there will next be something to sweep; infinity if never."""
        lease_s, retention_s = self._leases.next_s(), self._retentions.next_s()
        return lease_s if lease_s < retention_s else retention_s

    # What a command does

    def decide(self, command: Command, now_s: float) -> tuple[Event, ...]:
        """The events that carry `command` out at `now_s`, none where nothing changes.

        Raises `UnknownWorkerError` for an id that is not registered and `FencedError` for a message of an
        older incarnation.
        """
        return self._deciders[type(command)](command, now_s)

    def _decide_heartbeat(self, command: Heartbeat, now_s: float) -> tuple[Event, ...]:
        worker_id, resources, incarnation, sequence, _ = command
        worker = self._addressed(worker_id, incarnation)
        if sequence and sequence <= worker.sequence:
            return _NO_EVENTS
        renewed = LeaseRenewed(worker.worker_id, now_s, sequence, resources)
        if worker.health is Health.HEALTHY:
            return (renewed,)
        silence_s = now_s - worker.last_heartbeat_s
        return (
            LeaseRestored(worker.worker_id, now_s, f"heartbeat after {silence_s:.0f} s of silence"),
            renewed,
        )

    def _decide_register(self, command: Register, now_s: float) -> tuple[Event, ...]:
        worker_id, registration = self._ids.assign(command, self._workers)
        present = self._workers.get(worker_id)
        last_incarnation = max(self._incarnation_floor, present.incarnation if present is not None else 0)
        wanted_id = command.worker_id
        if registration is Registration.AGAIN and present is not None and wanted_id in ("", worker_id):
            # It goes by the id it was given; its configuration, after a restart, still says the other one.
            wanted_id = present.wanted_id or wanted_id
        return (
            WorkerRegistered(
                worker_id,
                now_s,
                last_incarnation + 1,
                registration,
                command.endpoint,
                command.instance_id,
                wanted_id,
                command.resources,
                dict(command.metadata),
            ),
        )

    def _decide_deregister(self, command: Deregister, now_s: float) -> tuple[Event, ...]:
        worker = self._addressed(command.worker_id, command.incarnation)
        departure = Departure.DRAINED if worker.admin is Admin.DRAINING else Departure.LEFT
        reason = command.reason[:MAX_REASON_CHARS] or departure.value
        return (WorkerDeparted(worker.worker_id, now_s, departure, reason),)

    def _decide_cordon(self, command: Cordon, now_s: float) -> tuple[Event, ...]:
        worker = self._addressed(command.worker_id)
        if worker.admin is Admin.DRAINING:
            return _NO_EVENTS
        return _administered(worker, now_s, Admin.CORDONED, command.reason)

    def _decide_uncordon(self, command: Uncordon, now_s: float) -> tuple[Event, ...]:
        worker = self._addressed(command.worker_id)
        if worker.admin is Admin.ACTIVE:
            return _NO_EVENTS
        return _administered(worker, now_s, Admin.ACTIVE, command.reason)

    def _decide_drain(self, command: Drain, now_s: float) -> tuple[Event, ...]:
        return _administered(self._addressed(command.worker_id), now_s, Admin.DRAINING, command.reason)

    def _decide_remove(self, command: Remove, now_s: float) -> tuple[Event, ...]:
        worker = self._addressed(command.worker_id)
        return (WorkerDeparted(worker.worker_id, now_s, Departure.REMOVED, "removed by an operator"),)

    def _decide_sweep(self, _: Sweep, now_s: float) -> tuple[Event, ...]:
        silent = f"no heartbeat for {self._leases.length_s:g} s"
        events: list[Event] = [
            LeaseExpired(WorkerId(worker_id), due_s, silent) for worker_id, due_s in self._leases.due(now_s)
        ]
        forgotten = f"UNHEALTHY for {self._retentions.length_s:g} s"
        events.extend(
            WorkerDeparted(WorkerId(worker_id), due_s, Departure.FORGOTTEN, forgotten)
            for worker_id, due_s in self._retentions.due(now_s)
        )
        return tuple(events)

    def _addressed(self, worker_id: str, incarnation: int = 0) -> Worker:
        worker = self._workers.get(WorkerId(worker_id))
        if worker is None:
            raise UnknownWorkerError(f"no worker {worker_id[:140]!r} is registered")
        if incarnation and incarnation != worker.incarnation:
            raise FencedError(
                f"worker {worker_id!r} is registered in incarnation {worker.incarnation}, "
                f"this message is of {incarnation}: register again"
            )
        return worker

    # What came of it

    def apply(self, event: Event) -> None:
        """Make `event` so. It must have been decided on the present state, or be replayed in order."""
        self._appliers[type(event)](event)

    def _apply_renewed(self, event: LeaseRenewed) -> None:
        worker_id, at_s, sequence, resources = event
        worker = self._workers[worker_id]
        worker.last_heartbeat_s = at_s
        if sequence:
            worker.sequence = sequence
        if resources is not None:
            worker.resources = resources
        self._leases.start(worker.deadline, at_s)

    def _apply_expired(self, event: LeaseExpired) -> None:
        worker = self._workers[event.worker_id]
        worker.health = Health.UNHEALTHY
        worker.health_reason = event.reason
        worker.health_since_s = event.at_s
        self._retentions.start(worker.deadline, event.at_s)

    def _apply_restored_lease(self, event: LeaseRestored) -> None:
        worker = self._workers[event.worker_id]
        worker.health = Health.HEALTHY
        worker.health_reason = event.reason
        worker.health_since_s = event.at_s
        worker.last_heartbeat_s = event.at_s  # what is kept of this change says so
        self._leases.start(worker.deadline, event.at_s)

    def _apply_registered(self, event: WorkerRegistered) -> None:
        at_s = event.at_s
        before = self._workers.get(event.worker_id)
        self._put(
            Worker(
                worker_id=event.worker_id,
                endpoint=event.endpoint,
                instance_id=event.instance_id,
                wanted_id=event.wanted_id,
                metadata=event.metadata,
                incarnation=event.incarnation,
                registered_at_s=at_s,
                last_heartbeat_s=at_s,
                health=Health.HEALTHY,
                health_reason=_REGISTRATION_REASONS[event.registration],
                health_since_s=at_s,
                # What an operator said of this id outlives a restart or a replacement behind it.
                admin=before.admin if before else Admin.ACTIVE,
                admin_reason=before.admin_reason if before else "",
                admin_since_s=before.admin_since_s if before else at_s,
                resources=event.resources,
            ),
            at_s,
        )

    def _apply_restored(self, event: WorkerRestored) -> None:
        self._put(replace(event.worker), event.at_s)  # events do not change once they are made

    def _put(self, worker: Worker, at_s: float) -> None:
        before = self._workers.get(worker.worker_id)
        if before is not None:
            self._ids.drop(before)
            before.deadline.stop()
        else:
            insort(self._sorted_ids, worker.worker_id)
        self._workers[worker.worker_id] = worker
        self._ids.note(worker, self._workers)
        if worker.health is Health.HEALTHY:
            self._leases.start(worker.deadline, at_s)
        else:
            self._retentions.start(worker.deadline, min(worker.health_since_s, at_s))

    def _apply_admin(self, event: AdminChanged) -> None:
        worker = self._workers[event.worker_id]
        if event.admin is not worker.admin:  # else it is a new reason for what was said before
            worker.admin_since_s = event.at_s
        worker.admin = event.admin
        worker.admin_reason = event.reason

    def _apply_departed(self, event: WorkerDeparted) -> None:
        worker = self._workers.pop(event.worker_id)
        del self._sorted_ids[bisect_left(self._sorted_ids, event.worker_id)]
        self._ids.leave(worker)
        worker.deadline.stop()
        self._incarnation_floor = max(self._incarnation_floor, worker.incarnation)


_REGISTRATION_REASONS = {
    Registration.NEW: "registered",
    Registration.AGAIN: "registered again",
    Registration.TAKEOVER: "registered in place of a worker gone silent",
    Registration.RENAMED: "registered under a variant of the id it wanted",
}


_ADMIN_REASONS = {
    Admin.ACTIVE: "uncordoned by an operator",
    Admin.CORDONED: "cordoned by an operator",
    Admin.DRAINING: "draining for an operator",
}


def _administered(worker: Worker, now_s: float, admin: Admin, reason: str) -> tuple[Event, ...]:
    """What an operator says of `worker`: nothing new unless its state is another, or the reason for it."""
    if worker.admin is admin and reason in ("", worker.admin_reason):
        return _NO_EVENTS
    return (AdminChanged(worker.worker_id, now_s, admin, reason or _ADMIN_REASONS[admin]),)
