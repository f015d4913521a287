"""Known bugs that can be switched on, to show that the oracle notices them.

    with applied("early-expiry"):  # a lease lasts half as long
        simulation.run()

Each mutant replaces a method of a class, or a port's implementation, while it is `applied`; the production
code has no switch for it. Always holds: the oracle finds `promise` broken in `schedule`, a small run
(tests/sim/test_mutants.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import minicloud.control.membership as membership_module
import minicloud.control.plane as plane_module
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.service import WorkerManagementService
from minicloud.core.ids import IdBook
from minicloud.core.liveness.detector import Detector
from minicloud.core.registry import Registry
from minicloud.net.backoff import Backoff
from minicloud.worker.agent import Agent
from sim.cluster.disk import Disk
from sim.faults.schedule import Schedule
from sim.verdict import mutations
from sim.verdict.mutant_schedules import (
    cold_start,
    crashes,
    departures,
    doubled_messages,
    moves,
    newcomers,
    operators,
    outage,
    power_loss_while_registering,
    registry_lost,
    registry_lost_and_id_given,
    registry_restored_and_id_given,
    restart,
    silences,
    stall,
    takeover,
    wall_clock_set,
)
from sim.verdict.promises import (
    CORDON_LASTS,
    COUNTS_ADD_UP,
    CRASHED_DETECTED,
    DELIVERY_IDEMPOTENT,
    ENDPOINT_PROVED,
    HERD_BOUNDED,
    IDENTITY_RETURNS,
    IDS_UNIQUE,
    LEAVING_NOT_OFFERED,
    LIVE_RECOVERED,
    NO_EARLY_VERDICT,
    NOTHING_STUCK,
    OLD_INCARNATIONS_FENCED,
    ONLY_HEALTHY_OFFERED,
    REGISTRATIONS_DURABLE,
    STALLS_COMPENSATED,
    VERDICT_ON_TIME,
    VIEW_IS_TRUTH,
    VIEWS_AGREE,
    Promise,
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One known bug: `make` makes a replacement of `owner.attribute` from the original."""

    name: str
    summary: str
    promise: Promise
    schedule: Callable[[int], Schedule]
    owner: Any
    attribute: str
    make: Callable[[Any], Any]


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Run with the mutant of that name; with none if it is empty. Raises `KeyError` for an unknown one."""
    if not name:
        yield
        return
    mutant = MUTANTS[name]
    original = getattr(mutant.owner, mutant.attribute)
    setattr(mutant.owner, mutant.attribute, mutant.make(original))
    try:
        yield
    finally:
        setattr(mutant.owner, mutant.attribute, original)


_ALL = (
    Mutant(
        "early-expiry", "a lease lasts half as long", NO_EARLY_VERDICT,
        crashes, Detector, "__init__", mutations.early_expiry,
    ),
    Mutant(
        "restart-without-grace", "after a restart silence counts from the last heartbeat kept",
        NO_EARLY_VERDICT, restart, Registry, "_apply_loaded", mutations.no_grace,
    ),
    Mutant(
        "wall-clock-leases", "leases live on the wall clock, which can be set", STALLS_COMPENSATED,
        wall_clock_set, Membership, "__init__", mutations.wall_clock,
    ),
    Mutant(
        "late-sweep", "what is due is swept a second late, by whoever reads, too", VERDICT_ON_TIME,
        crashes, Detector, "next_s", mutations.late_sweep,
    ),
    Mutant(
        "no-fencing", "messages of older incarnations count", OLD_INCARNATIONS_FENCED,
        takeover, Registry, "_addressed", mutations.no_fencing,
    ),
    Mutant(
        "incarnation-stays", "a registration does not raise the incarnation", OLD_INCARNATIONS_FENCED,
        takeover, Registry, "_decide_register", mutations.incarnation_stays,
    ),
    Mutant(
        "lost-floor", "incarnations start at 1 after a lost registry", OLD_INCARNATIONS_FENCED,
        registry_lost_and_id_given, plane_module, "incarnation_floor", mutations.lost_floor,
    ),
    Mutant(
        "below-the-floor", "after a backup an id goes on from the incarnation it had in it",
        OLD_INCARNATIONS_FENCED, registry_restored_and_id_given, Registry, "_decide_register",
        mutations.below_the_floor,
    ),
    Mutant(
        "double-registration", "a live worker's id is given to another", IDS_UNIQUE,
        newcomers, IdBook, "assign", mutations.double_registration,
    ),
    Mutant(
        "lost-write", "the disk drops a part of what it has acknowledged", REGISTRATIONS_DURABLE,
        restart, Disk, "sync", mutations.lost_write,
    ),
    Mutant(
        "answers-too-soon", "a registration is answered before it is kept", REGISTRATIONS_DURABLE,
        power_loss_while_registering, Membership, "durable", mutations.answers_too_soon,
    ),
    Mutant(
        "forgets-too-early", "an UNHEALTHY worker is forgotten after a quarter of the time",
        REGISTRATIONS_DURABLE, crashes, Detector, "__init__", mutations.forgets_early,
    ),
    Mutant(
        "stats-off-by-one", "the statistics count a healthy worker too many", COUNTS_ADD_UP,
        crashes, membership_module, "cluster_stats", mutations.stats_off_by_one,
    ),
    Mutant(
        "unhealthy-offered", "UNHEALTHY workers are offered for scheduling", ONLY_HEALTHY_OFFERED,
        crashes, Registry, "schedulable_workers", mutations.unhealthy_offered,
    ),
    Mutant(
        "cordon-ignored", "cordoned and draining workers are offered for scheduling", ONLY_HEALTHY_OFFERED,
        operators, Registry, "schedulable_workers", mutations.cordon_ignored,
    ),
    Mutant(
        "duplicate-counted", "a heartbeat that comes again, or late, counts", DELIVERY_IDEMPOTENT,
        doubled_messages, Registry, "_decide_heartbeat", mutations.sequence_ignored,
    ),
    Mutant(
        "load-forgotten", "a heartbeat renews the lease, and what it says of the load is dropped",
        DELIVERY_IDEMPOTENT, silences, Registry, "_apply_renewed", mutations.load_forgotten,
    ),
    Mutant(
        "counted-twice", "metrics count each heartbeat twice", VIEWS_AGREE,
        crashes, Metrics, "heartbeat", mutations.counted_twice,
    ),
    Mutant(
        "no-sweep", "nothing ever falls due", CRASHED_DETECTED,
        crashes, Detector, "next_s", mutations.no_sweep,
    ),
    Mutant(
        "no-reregistration", "a worker that is told to register does not", LIVE_RECOVERED,
        registry_lost, Agent, "_send_heartbeat", mutations.no_reregistration,
    ),
    Mutant(
        "no-recovery", "an UNHEALTHY worker's heartbeat counts and changes nothing", LIVE_RECOVERED,
        silences, Registry, "_decide_heartbeat", mutations.no_recovery,
    ),
    Mutant(
        "metadata-lost", "what a worker says of its zone is dropped", VIEW_IS_TRUTH,
        crashes, Registry, "_decide_register", mutations.metadata_lost,
    ),
    Mutant(
        "cordon-forgotten", "a cordon ends when its worker leaves", CORDON_LASTS,
        departures, Registry, "_apply_departed", mutations.cordon_forgotten,
    ),
    Mutant(
        "departed-forgotten", "an installation that departed is a newcomer", IDENTITY_RETURNS,
        departures, IdBook, "assign", mutations.departed_forgotten,
    ),
    Mutant(
        "endpoint-stays", "who registers again stays listed at the old endpoint", ENDPOINT_PROVED,
        takeover, Registry, "_apply_registered", mutations.endpoint_stays,
    ),
    Mutant(
        "endpoint-never-looked-at", "a worker that moves does not register again", ENDPOINT_PROVED,
        moves, Agent, "_register_again_if_moved", mutations.never_looks_again,
    ),
    Mutant(
        "leaving-ignored", "a worker that is shutting down is offered until it has left",
        LEAVING_NOT_OFFERED, departures, Registry, "_decide_heartbeat", mutations.leaving_ignored,
    ),
    Mutant(
        "stall-ignored", "the time in which the control plane stood still counts as silence",
        STALLS_COMPENSATED, stall, Membership, "_compensate", mutations.stall_ignored,
    ),
    Mutant(
        "no-jitter", "workers that failed together try again together", HERD_BOUNDED,
        cold_start, Backoff, "delay_s", mutations.no_jitter,
    ),
    Mutant(
        "no-backoff", "workers try again at once, for as long as it takes", HERD_BOUNDED,
        outage, Backoff, "delay_s", mutations.no_backoff,
    ),
    Mutant(
        "leave-crashes", "a worker that leaves is answered with an internal error", NOTHING_STUCK,
        operators, WorkerManagementService, "deregister_worker", mutations.leave_crashes,
    ),
)  # fmt: skip

MUTANTS: dict[str, Mutant] = {mutant.name: mutant for mutant in _ALL}
