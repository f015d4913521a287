"""Known bugs, switched on from outside: what shows that the oracle sees.

Each replaces a method of a class, or a port's implementation, while it is `applied`; nothing in the
production code knows of it. `schedule` is a small run in which it shows, `promise` the one that has to catch
it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import minicloud.control.membership as membership_module
import minicloud.control.plane as plane_module
from minicloud.clock import Clock
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.service import WorkerManagementService
from minicloud.core.commands import Heartbeat, Register
from minicloud.core.events import (
    LeaseRenewed,
    LeaseRestored,
    Registration,
    WorkerDeparted,
    WorkerRegistered,
    WorkerRestored,
)
from minicloud.core.ids import IdBook
from minicloud.core.liveness.detector import Detector
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import Admin, ClusterStats, Health, Worker, WorkerId
from minicloud.core.registry import Registry
from minicloud.core.stats import cluster_stats
from minicloud.net.backoff import Backoff
from minicloud.store.port import Snapshot
from minicloud.worker.agent import Agent
from minicloud.worker.control_plane import HeartbeatAnswer
from sim.cluster.disk import Disk
from sim.faults.schedule import Schedule
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
    """One known bug. `owner.attribute` becomes what `make` makes of what it was."""

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


# The control plane's leases


def _early_expiry(original: Any) -> Any:
    def init(self: Detector, policy: LivenessPolicy) -> None:
        original(self, replace(policy, heartbeat_timeout_s=policy.heartbeat_timeout_s / 2))

    return init


def _forgets_early(original: Any) -> Any:
    def init(self: Detector, policy: LivenessPolicy) -> None:
        original(self, replace(policy, retention_s=policy.retention_s / 4))

    return init


def _late_sweep(original: Any) -> Any:
    return lambda self: original(self) + 1.0


def _no_sweep(original: Any) -> Any:
    return lambda self: float("inf")


def _no_grace(original: Any) -> Any:
    def apply(self: Registry, event: WorkerRestored) -> None:
        original(
            self,
            replace(event, lease_until_s=event.worker.last_heartbeat_s + self.policy.heartbeat_timeout_s),
        )

    return apply


def _no_recovery(original: Any) -> Any:
    def decide(self: Registry, command: Heartbeat, now_s: float) -> Any:
        return tuple(
            event for event in original(self, command, now_s) if not isinstance(event, LeaseRestored)
        )

    return decide


class _WallClock:
    """Takes the wall clock for the monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self.wall_s = self.monotonic_s = clock.wall_s
        self._clock = clock

    async def sleep_until(self, deadline_s: float) -> None:
        clock = self._clock
        await clock.sleep_until(clock.monotonic_s() + deadline_s - clock.wall_s())


def _wall_clock(original: Any) -> Any:
    def init(self: Membership, registry: Registry, store: Any, clock: Clock, **rest: Any) -> None:
        original(self, registry, store, _WallClock(clock), **rest)

    return init


# Its ids and incarnations


def _no_fencing(original: Any) -> Any:
    return lambda self, worker_id, incarnation=0: original(self, worker_id)


def _incarnation_stays(original: Any) -> Any:
    def decide(self: Registry, command: Register, now_s: float) -> Any:
        return tuple(replace(event, incarnation=1) for event in original(self, command, now_s))

    return decide


def _lost_floor(original: Any) -> Any:
    def floor(snapshot: Snapshot, clock: Clock) -> int:
        return snapshot.incarnation_floor

    return floor


def _below_the_floor(original: Any) -> Any:
    def decide(self: Registry, command: Register, now_s: float) -> Any:
        *_, event = original(self, command, now_s)
        before = self.get(event.worker_id)
        return (event if before is None else replace(event, incarnation=before.incarnation + 1),)

    return decide


def _double_registration(original: Any) -> Any:
    def assign(self: IdBook, command: Register, find: Any, now_s: float) -> tuple[WorkerId, Registration]:
        worker_id, registration = original(self, command, find, now_s)
        if registration is Registration.RENAMED:
            return WorkerId(command.worker_id), Registration.AGAIN
        return worker_id, registration

    return assign


def _sequence_ignored(original: Any) -> Any:
    return lambda self, command, now_s: original(self, command._replace(sequence=0), now_s)


def _metadata_lost(original: Any) -> Any:
    def decide(self: Registry, command: Register, now_s: float) -> Any:
        return original(self, replace(command, metadata={}), now_s)

    return decide


# What it shows


def _unhealthy_offered(original: Any) -> Any:
    def offered(self: Registry) -> Iterator[Worker]:
        return (worker for worker in self.workers() if worker.admin is Admin.ACTIVE)

    return offered


def _cordon_ignored(original: Any) -> Any:
    def offered(self: Registry) -> Iterator[Worker]:
        return (worker for worker in self.workers() if worker.health is Health.HEALTHY)

    return offered


def _load_forgotten(original: Any) -> Any:
    def apply(self: Registry, event: LeaseRenewed) -> None:
        original(self, event._replace(resources=None))

    return apply


def _stats_off_by_one(original: Any) -> Any:
    def stats(workers: Any, now_s: float) -> ClusterStats:
        right = cluster_stats(workers, now_s)
        return replace(right, healthy=right.healthy + (1 if right.unhealthy else 0))

    return stats


def _counted_twice(original: Any) -> Any:
    def heartbeat(self: Metrics, result: str) -> None:
        original(self, result)
        original(self, result)

    return heartbeat


def _leave_crashes(original: Any) -> Any:
    async def deregister(self: WorkerManagementService, message: Any) -> Any:
        raise RuntimeError("a bug")

    return deregister


# What it keeps


def _lost_write(original: Any) -> Any:
    def sync(self: Disk) -> None:
        self._written = [
            change for change in self._written if change.entry is None or change.entry.event_id % 4
        ]
        original(self)

    return sync


def _answers_too_soon(original: Any) -> Any:
    async def durable(self: Membership) -> None: ...

    return durable


# Who is not there


def _cordon_forgotten(original: Any) -> Any:
    def apply(self: Registry, event: WorkerDeparted) -> None:
        worker = self.get(event.worker_id)
        assert worker is not None
        worker.admin = Admin.ACTIVE
        original(self, event)

    return apply


def _departed_forgotten(original: Any) -> Any:
    def assign(self: IdBook, command: Register, find: Any, now_s: float) -> tuple[WorkerId, Registration]:
        worker_id, registration = original(self, command, find, now_s)
        if registration is Registration.RETURNED:
            return command.generated_id, Registration.NEW
        return worker_id, registration

    return assign


def _leaving_ignored(original: Any) -> Any:
    return lambda self, command, now_s: original(self, command._replace(leaving=False), now_s)


def _never_looks_again(original: Any) -> Any:
    async def register_again_if_moved(self: Agent) -> None: ...

    return register_again_if_moved


def _endpoint_stays(original: Any) -> Any:
    def apply(self: Registry, event: WorkerRegistered) -> None:
        before = self.known(event.worker_id)
        original(self, event if before is None else replace(event, endpoint=before.endpoint))

    return apply


def _stall_ignored(original: Any) -> Any:
    return lambda self, now_s: None


# The worker


def _no_reregistration(original: Any) -> Any:
    async def send(self: Agent) -> HeartbeatAnswer | None:
        answer: HeartbeatAnswer | None = await original(self)
        self._registered = True
        return answer

    return send


def _no_jitter(original: Any) -> Any:
    return lambda self, failures, random: self.ceiling_s(failures)


def _no_backoff(original: Any) -> Any:
    def delay_s(self: Backoff, failures: int, random: Random) -> float:
        return random.uniform(0, 0.2)

    return delay_s


_ALL = (
    Mutant(
        "early-expiry", "a lease lasts half as long", NO_EARLY_VERDICT,
        crashes, Detector, "__init__", _early_expiry,
    ),
    Mutant(
        "restart-without-grace", "after a restart silence counts from the last heartbeat kept",
        NO_EARLY_VERDICT, restart, Registry, "_apply_restored", _no_grace,
    ),
    Mutant(
        "wall-clock-leases", "leases live on the wall clock, which can be set", STALLS_COMPENSATED,
        wall_clock_set, Membership, "__init__", _wall_clock,
    ),
    Mutant(
        "late-sweep", "what is due is swept a second late, by whoever reads, too", VERDICT_ON_TIME,
        crashes, Detector, "next_s", _late_sweep,
    ),
    Mutant(
        "no-fencing", "messages of older incarnations count", OLD_INCARNATIONS_FENCED,
        takeover, Registry, "_addressed", _no_fencing,
    ),
    Mutant(
        "incarnation-stays", "a registration does not raise the incarnation", OLD_INCARNATIONS_FENCED,
        takeover, Registry, "_decide_register", _incarnation_stays,
    ),
    Mutant(
        "lost-floor", "incarnations start at 1 after a lost registry", OLD_INCARNATIONS_FENCED,
        registry_lost_and_id_given, plane_module, "incarnation_floor", _lost_floor,
    ),
    Mutant(
        "below-the-floor", "after a backup an id goes on from the incarnation it had in it",
        OLD_INCARNATIONS_FENCED, registry_restored_and_id_given, Registry, "_decide_register",
        _below_the_floor,
    ),
    Mutant(
        "double-registration", "a live worker's id is given to another", IDS_UNIQUE,
        newcomers, IdBook, "assign", _double_registration,
    ),
    Mutant(
        "lost-write", "the disk drops a part of what it has acknowledged", REGISTRATIONS_DURABLE,
        restart, Disk, "sync", _lost_write,
    ),
    Mutant(
        "answers-too-soon", "a registration is answered before it is kept", REGISTRATIONS_DURABLE,
        power_loss_while_registering, Membership, "durable", _answers_too_soon,
    ),
    Mutant(
        "forgets-too-early", "an UNHEALTHY worker is forgotten after a quarter of the time",
        REGISTRATIONS_DURABLE, crashes, Detector, "__init__", _forgets_early,
    ),
    Mutant(
        "stats-off-by-one", "the statistics count a healthy worker too many", COUNTS_ADD_UP,
        crashes, membership_module, "cluster_stats", _stats_off_by_one,
    ),
    Mutant(
        "unhealthy-offered", "UNHEALTHY workers are offered for scheduling", ONLY_HEALTHY_OFFERED,
        crashes, Registry, "schedulable_workers", _unhealthy_offered,
    ),
    Mutant(
        "cordon-ignored", "cordoned and draining workers are offered for scheduling", ONLY_HEALTHY_OFFERED,
        operators, Registry, "schedulable_workers", _cordon_ignored,
    ),
    Mutant(
        "duplicate-counted", "a heartbeat that comes again, or late, counts", DELIVERY_IDEMPOTENT,
        doubled_messages, Registry, "_decide_heartbeat", _sequence_ignored,
    ),
    Mutant(
        "load-forgotten", "a heartbeat renews the lease, and what it says of the load is dropped",
        DELIVERY_IDEMPOTENT, silences, Registry, "_apply_renewed", _load_forgotten,
    ),
    Mutant(
        "counted-twice", "metrics count each heartbeat twice", VIEWS_AGREE,
        crashes, Metrics, "heartbeat", _counted_twice,
    ),
    Mutant(
        "no-sweep", "nothing ever falls due", CRASHED_DETECTED,
        crashes, Detector, "next_s", _no_sweep,
    ),
    Mutant(
        "no-reregistration", "a worker that is told to register does not", LIVE_RECOVERED,
        registry_lost, Agent, "_send_heartbeat", _no_reregistration,
    ),
    Mutant(
        "no-recovery", "an UNHEALTHY worker's heartbeat counts and changes nothing", LIVE_RECOVERED,
        silences, Registry, "_decide_heartbeat", _no_recovery,
    ),
    Mutant(
        "metadata-lost", "what a worker says of its zone is dropped", VIEW_IS_TRUTH,
        crashes, Registry, "_decide_register", _metadata_lost,
    ),
    Mutant(
        "cordon-forgotten", "a cordon ends when its worker leaves", CORDON_LASTS,
        departures, Registry, "_apply_departed", _cordon_forgotten,
    ),
    Mutant(
        "departed-forgotten", "an installation that departed is a newcomer", IDENTITY_RETURNS,
        departures, IdBook, "assign", _departed_forgotten,
    ),
    Mutant(
        "endpoint-stays", "who registers again stays listed at the old endpoint", ENDPOINT_PROVED,
        takeover, Registry, "_apply_registered", _endpoint_stays,
    ),
    Mutant(
        "endpoint-never-looked-at", "a worker that moves does not register again", ENDPOINT_PROVED,
        moves, Agent, "_register_again_if_moved", _never_looks_again,
    ),
    Mutant(
        "leaving-ignored", "a worker that is shutting down is offered until it has left",
        LEAVING_NOT_OFFERED, departures, Registry, "_decide_heartbeat", _leaving_ignored,
    ),
    Mutant(
        "stall-ignored", "the time in which the control plane stood still counts as silence",
        STALLS_COMPENSATED, stall, Membership, "_compensate", _stall_ignored,
    ),
    Mutant(
        "no-jitter", "workers that failed together try again together", HERD_BOUNDED,
        cold_start, Backoff, "delay_s", _no_jitter,
    ),
    Mutant(
        "no-backoff", "workers try again at once, for as long as it takes", HERD_BOUNDED,
        outage, Backoff, "delay_s", _no_backoff,
    ),
    Mutant(
        "leave-crashes", "a worker that leaves is answered with an internal error", NOTHING_STUCK,
        operators, WorkerManagementService, "deregister_worker", _leave_crashes,
    ),
)  # fmt: skip

MUTANTS: dict[str, Mutant] = {mutant.name: mutant for mutant in _ALL}
