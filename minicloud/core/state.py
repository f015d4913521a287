"""This is the state of the registry: the workers that are registered or remembered.

Always holds (`tests/unit/core/test_registry_model.py`): the same events in the same order end in the same
state; a worker has a lease exactly while its health is HEALTHY; an id is registered or departed, never both.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from minicloud.core.departures import Departures
from minicloud.core.events import (
    AdminChanged,
    DepartureExpired,
    Event,
    LeaseExpired,
    LeaseRenewed,
    RegistrationOutcome,
    RivalHeard,
    WorkerDeparted,
    WorkerHeard,
    WorkerLeaving,
    WorkerLoaded,
    WorkerRecovered,
    WorkerRegistered,
)
from minicloud.core.ids import IdBook
from minicloud.core.liveness.detector import Detector
from minicloud.core.liveness.policy import MAX_REMEMBERED, LivenessPolicy
from minicloud.core.model import Admin, Departed, Departure, Health, Worker, WorkerId


class RegistryState:
    """A `RegistryState` has the registered workers and their leases, the departed workers that are
    remembered, and the floor of incarnations.

    `policy` has the figures of failure detection. `incarnation_floor` is 0 or more, and at least every
    incarnation ever given except those of workers loaded into this registry. `run` is the number of the
    control plane's run, for comparison with `Worker.heard_run`. `max_departed` bounds the departed workers
    that are not cordoned.
    """

    def __init__(
        self,
        policy: LivenessPolicy = LivenessPolicy(),
        incarnation_floor: int = 0,
        *,
        run: int = 0,
        max_departed: int = MAX_REMEMBERED,
    ) -> None:
        self._workers: dict[WorkerId, Worker] = {}
        self._sorted_ids: list[WorkerId] = []
        self.policy = policy
        self._ids = IdBook(rival_s=policy.heartbeat_timeout_s)
        self._detector = Detector(policy)
        self._departures = Departures(policy.retention_s, max_departed)
        self._incarnation_floor = incarnation_floor
        self._run = run

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker_id: str) -> Worker | None:
        """Return the registered worker of that id, None if there is none."""
        return self._workers.get(WorkerId(worker_id))

    def known(self, worker_id: str) -> Worker | None:
        """Return the registered or departed worker of that id, None if there is none."""
        return self._workers.get(WorkerId(worker_id)) or self._departures.get(WorkerId(worker_id))

    @property
    def departures(self) -> Departures:
        """Return the departed workers. Callers only read them."""
        return self._departures

    def workers(self, after: str = "") -> Iterator[Worker]:
        """Yield the registered workers with ids greater than `after`, in the order of ids.

        Membership must not change during the iteration.
        """
        start = bisect_right(self._sorted_ids, after) if after else 0
        for index in range(start, len(self._sorted_ids)):
            yield self._workers[self._sorted_ids[index]]

    def schedulable_workers(self) -> Iterator[Worker]:
        """Yield the workers that may get new work: HEALTHY, neither cordoned, draining nor leaving."""
        return (worker for worker in self.workers() if worker.schedulable)

    @property
    def incarnation_floor(self) -> int:
        """Return the highest of the floor at the start and the incarnations of workers that have left since.

        A worker that registers gets a higher incarnation (DESIGN 11).
        """
        return self._incarnation_floor

    @property
    def run(self) -> int:
        """Return the number of the control plane's run."""
        return self._run

    def next_deadline_s(self) -> float:
        """Return the first time at which a sweep finds something, infinity if there is none."""
        return min(self._detector.next_s(), self._departures.next_s())

    @property
    def has_leases(self) -> bool:
        """Return True if the health of any worker is HEALTHY."""
        return self._detector.has_leases

    def postpone(self, by_s: float) -> None:
        """Move every deadline by `by_s` seconds (DESIGN 61)."""
        self._detector.stalled(by_s)
        self._departures.postpone(by_s)

    def apply(self, event: Event) -> None:
        """Carry `event` out. It must have been decided on the present state, or be replayed in order."""
        match event:  # the most frequent one first
            case LeaseRenewed():
                self._apply_renewed(event)
            case LeaseExpired():
                self._apply_expired(event)
            case WorkerRecovered():
                self._apply_recovered(event)
            case WorkerRegistered():
                self._apply_registered(event)
            case WorkerLoaded():
                self._apply_loaded(event)
            case WorkerHeard():
                self._apply_heard(event)
            case WorkerLeaving():
                self._apply_leaving(event)
            case RivalHeard():
                self._apply_rival_heard(event)
            case AdminChanged():
                self._apply_admin(event)
            case WorkerDeparted():
                self._apply_departed(event)
            case DepartureExpired():
                self._apply_departure_expired(event)
            case _:
                assert_never(event)

    def _apply_renewed(self, event: LeaseRenewed) -> None:
        worker_id, at_s, sequence, resources = event
        worker = self._workers[worker_id]
        worker.last_heartbeat_s = at_s
        if sequence:
            worker.sequence = sequence
        if resources is not None:
            worker.resources = resources
        self._detector.renew(worker.deadline, at_s)

    def _apply_expired(self, event: LeaseExpired) -> None:
        worker = self._workers[event.worker_id]
        worker.health = Health.UNHEALTHY
        worker.health_reason = event.reason
        worker.health_since_s = event.at_s
        self._detector.retain(worker.deadline, event.at_s)

    def _apply_recovered(self, event: WorkerRecovered) -> None:
        worker = self._workers[event.worker_id]
        worker.health = Health.HEALTHY
        worker.health_reason = event.reason
        worker.health_since_s = event.at_s
        worker.last_heartbeat_s = event.at_s  # the stored record of this change needs it
        worker.heard_run = self._run
        self._detector.renew(worker.deadline, event.at_s)

    def _apply_heard(self, event: WorkerHeard) -> None:
        worker = self._workers[event.worker_id]
        worker.last_heartbeat_s = event.at_s
        worker.heard_run = self._run

    def _apply_leaving(self, event: WorkerLeaving) -> None:
        worker = self._workers[event.worker_id]
        worker.leaving_since_s = event.at_s
        worker.last_heartbeat_s = event.at_s  # the stored record of this change needs it

    def _apply_rival_heard(self, event: RivalHeard) -> None:
        self._ids.rival_heard(event.worker_id, event.at_s)

    def _apply_registered(self, event: WorkerRegistered) -> None:
        at_s = event.at_s
        before = self._departures.take(event.worker_id) or self._workers.get(event.worker_id)
        worker = Worker(
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
            admin=event.admin,
            admin_reason=event.admin_reason,
            admin_since_s=event.admin_since_s,
            resources=event.resources,
            heard_run=self._run,
        )
        self._put(worker, before)
        self._detector.renew(worker.deadline, at_s)

    def _apply_loaded(self, event: WorkerLoaded) -> None:
        worker = replace(event.worker)  # events do not change once they are made
        if worker.departed is not None:
            self._departures.put(worker, worker.departed.at_s)
            self._ids.note(worker, None, self.known)
            return
        self._put(worker, self._workers.get(worker.worker_id))
        if worker.health is Health.HEALTHY:
            self._detector.grant_grace(worker.deadline, event.lease_until_s)
        else:
            self._detector.retain(worker.deadline, min(worker.health_since_s, event.at_s))

    def _put(self, worker: Worker, before: Worker | None) -> None:
        if worker.worker_id not in self._workers:
            insort(self._sorted_ids, worker.worker_id)
        if before is not None:
            before.deadline.stop()
        self._workers[worker.worker_id] = worker
        self._ids.note(worker, before, self.known)

    def _apply_admin(self, event: AdminChanged) -> None:
        worker = self.known(event.worker_id)
        assert worker is not None, "only a known worker is administered"
        if event.admin is not worker.admin:  # else it is a new reason for the same state
            worker.admin_since_s = event.at_s
        worker.admin_reason = event.reason
        if worker.departed is not None:
            self._departures.administer(worker, event.admin, event.at_s)
        else:
            worker.admin = event.admin

    def _apply_departed(self, event: WorkerDeparted) -> None:
        worker = self._workers.pop(event.worker_id)
        del self._sorted_ids[bisect_left(self._sorted_ids, event.worker_id)]
        worker.deadline.stop()
        self._incarnation_floor = max(self._incarnation_floor, worker.incarnation)
        if event.departure is Departure.FORGOTTEN and worker.admin is Admin.ACTIVE:
            self._ids.forget(worker)
            return
        self._ids.depart(event.worker_id)
        worker.departed = Departed(event.departure, event.reason, event.at_s)
        if worker.admin is Admin.DRAINING:  # a drain that has ended leaves a cordon (DESIGN 13)
            worker.admin = Admin.CORDONED
            if worker.admin_reason == ADMIN_REASONS[Admin.DRAINING]:
                worker.admin_reason = "drained for an operator"
        self._departures.put(worker, event.at_s)

    def _apply_departure_expired(self, event: DepartureExpired) -> None:
        worker = self._departures.take(event.worker_id)
        assert worker is not None, "only a remembered worker is forgotten"
        self._ids.forget(worker)


_REGISTRATION_REASONS = {
    RegistrationOutcome.NEW: "registered",
    RegistrationOutcome.AGAIN: "registered again",
    RegistrationOutcome.RETURNED: "registered under the id it had before",
    RegistrationOutcome.TAKEOVER: "registered in place of a worker gone silent",
    RegistrationOutcome.RENAMED: "registered under a variant of the id it wanted",
    RegistrationOutcome.CLONE: "registered under a variant, as another live worker has the same identity",
}


# These reasons are stored if an operator gives none.
ADMIN_REASONS = {
    Admin.ACTIVE: "uncordoned by an operator",
    Admin.CORDONED: "cordoned by an operator",
    Admin.DRAINING: "draining for an operator",
}
