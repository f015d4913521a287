"""The comparison of the registry with the model, worker by worker, at one moment (promises 1 to 8, 15, 17,
19).

It costs some microseconds a worker, so it is made at intervals and, in small clusters, after each change. A
difference is reported once for each worker.
"""

from __future__ import annotations

from typing import Any

from minicloud.control.membership import Membership
from minicloud.core.model import Admin, Health, Status, Worker, WorkerId
from minicloud.core.registry import Registry
from sim.oracle.ledger import FirstOfEach, Ledger
from sim.oracle.model import Member, Model
from sim.verdict.promises import (
    CORDON_LASTS,
    COUNTS_ADD_UP,
    DELIVERY_IDEMPOTENT,
    ENDPOINT_PROVED,
    LEAVING_NOT_OFFERED,
    NO_EARLY_VERDICT,
    OLD_INCARNATIONS_FENCED,
    ONLY_HEALTHY_OFFERED,
    REGISTRATIONS_DURABLE,
    VERDICT_ON_TIME,
)


class Comparison:
    """Compares the registry with `model`, whenever `compare` is called."""

    def __init__(self, model: Model, ledger: Ledger) -> None:
        self._model = model
        self._ledger = ledger
        self._first = FirstOfEach(ledger)

    def compare(self, membership: Membership) -> None:
        """Report every difference. Nothing may be due in the registry, as reading would sweep it."""
        model, ledger = self._model, self._ledger
        members = model.members
        registry = membership.sweep_due()
        found = 0
        for worker in registry.workers():
            found += 1
            member = members.get(worker.worker_id)
            if member is None:
                self._first.violate(
                    COUNTS_ADD_UP, worker.worker_id, f"{worker.worker_id} is registered: nobody is"
                )
            else:
                self._compare(worker, member)
        for promise in (
            NO_EARLY_VERDICT,
            VERDICT_ON_TIME,
            OLD_INCARNATIONS_FENCED,
            DELIVERY_IDEMPOTENT,
            REGISTRATIONS_DURABLE,
            ENDPOINT_PROVED,
        ):
            ledger.checks[promise] += found
        if found != len(members):
            for worker_id in members:
                if registry.get(worker_id) is None:
                    self._first.violate(
                        REGISTRATIONS_DURABLE, worker_id, f"{worker_id} is not registered any more"
                    )
        self._compare_departed(registry)
        offered = 0
        for worker in registry.schedulable_workers():
            offered += 1
            member = members.get(worker.worker_id)
            if member is None or member.status is not Status.HEALTHY:
                self._first.violate(
                    ONLY_HEALTHY_OFFERED,
                    worker.worker_id,
                    f"{worker.worker_id} is {model.status_of(worker.worker_id)} and offered for scheduling",
                )
        ledger.checks[ONLY_HEALTHY_OFFERED] += offered
        stats = membership.stats()
        counts = model.counts
        shown = (stats.healthy, stats.unhealthy, stats.draining)
        right = (counts[Status.HEALTHY], counts[Status.UNHEALTHY], counts[Status.DRAINING])
        ledger.require(
            COUNTS_ADD_UP,
            shown == right and stats.total == sum(right) and sum(shown) == stats.total,
            "control-plane",
            f"the statistics say healthy, unhealthy, draining {shown} of {stats.total}, it is {right} of "
            f"{sum(right)}",
        )

    def _compare(self, worker: Worker, member: Member) -> None:
        worker_id = member.worker_id
        if (worker.health is Health.HEALTHY) is not member.healthy:
            promise = NO_EARLY_VERDICT if member.healthy else VERDICT_ON_TIME
            right = "HEALTHY" if member.healthy else "UNHEALTHY"
            self._first.violate(promise, worker_id, f"{worker_id} is {worker.health}, and has to be {right}")
        if worker.incarnation != member.incarnation:
            self._first.violate(
                OLD_INCARNATIONS_FENCED,
                worker_id,
                f"{worker_id} is registered in incarnation {worker.incarnation}, its last one was "
                f"{member.incarnation}",
            )
        self._compare_admin(worker, member.admin)
        self._ledger.checks[LEAVING_NOT_OFFERED] += member.announced_leaving
        if member.announced_leaving and worker.schedulable:
            self._first.violate(
                LEAVING_NOT_OFFERED,
                worker_id,
                f"{worker_id} has announced that it is shutting down, and is offered for scheduling",
            )
        if worker.endpoint != member.endpoint:
            self._first.violate(
                ENDPOINT_PROVED,
                worker_id,
                f"{worker_id} is listed at {worker.endpoint}; it registered from {member.endpoint} last",
            )
        if not member.restored and (
            worker.last_heartbeat_s != member.accepted_s or worker.sequence != member.sequence
        ):
            self._first.violate(
                DELIVERY_IDEMPOTENT,
                worker_id,
                f"the last heartbeat counted of {worker_id} is {worker.sequence} at "
                f"{worker.last_heartbeat_s:.6f} s; delivered once and in order it is {member.sequence} at "
                f"{member.accepted_s:.6f} s",
            )
        shown, reported = worker.resources, member.resources
        if shown.memory_used_mb != reported.memory_used_mb or shown.active_queries != reported.active_queries:
            self._first.violate(
                DELIVERY_IDEMPOTENT,
                worker_id,
                f"{worker_id} is shown with {_load(shown)} in use, and reported {_load(reported)} last",
            )

    def _compare_departed(self, registry: Registry) -> None:
        """Check that every worker that departed cordoned is still listed so."""
        departures = registry.departures
        for worker in departures.workers():
            self._compare_admin(worker, self._model.admin_of(worker.worker_id))
        for worker_id in self._model.held():
            if registry.departures.get(WorkerId(worker_id)) is None:
                text = f"{worker_id} is {self._model.admin_of(worker_id)}, and is listed nowhere"
                self._first.violate(CORDON_LASTS, worker_id, text)

    def _compare_admin(self, worker: Worker, admin: Admin) -> None:
        self._ledger.checks[CORDON_LASTS] += 1
        if worker.admin is not admin:
            self._first.violate(
                CORDON_LASTS,
                worker.worker_id,
                f"{worker.worker_id} is {worker.admin}; the last act of an operator made it {admin}",
            )


def _load(resources: Any) -> str:
    """The parts of a load that change between reports, for resources of a message or of the core."""
    return f"{resources.memory_used_mb} MiB and {resources.active_queries} queries"
