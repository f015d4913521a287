"""The replacements that mutants make: each function returns a method with a known bug, given the original.

`mutants` lists them; nothing else uses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from minicloud.clock import Clock
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.service import WorkerManagementService
from minicloud.core.commands import Heartbeat, Register
from minicloud.core.events import (
    LeaseRenewed,
    RegistrationOutcome,
    WorkerDeparted,
    WorkerLoaded,
    WorkerRecovered,
    WorkerRegistered,
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

# The control plane's leases


def early_expiry(original: Any) -> Any:
    def init(self: Detector, policy: LivenessPolicy) -> None:
        original(self, replace(policy, heartbeat_timeout_s=policy.heartbeat_timeout_s / 2))

    return init


def forgets_early(original: Any) -> Any:
    def init(self: Detector, policy: LivenessPolicy) -> None:
        original(self, replace(policy, retention_s=policy.retention_s / 4))

    return init


def late_sweep(original: Any) -> Any:
    return lambda self: original(self) + 1.0


def no_sweep(original: Any) -> Any:
    return lambda self: float("inf")


def no_grace(original: Any) -> Any:
    def apply(self: Registry, event: WorkerLoaded) -> None:
        original(
            self,
            replace(event, lease_until_s=event.worker.last_heartbeat_s + self.policy.heartbeat_timeout_s),
        )

    return apply


def no_recovery(original: Any) -> Any:
    def decide(self: Registry, command: Heartbeat, now_s: float) -> Any:
        return tuple(
            event for event in original(self, command, now_s) if not isinstance(event, WorkerRecovered)
        )

    return decide


class _WallClock:
    """A clock that uses the wall clock as the monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self.wall_s = self.monotonic_s = clock.wall_s
        self._clock = clock

    async def sleep_until(self, deadline_s: float) -> None:
        clock = self._clock
        await clock.sleep_until(clock.monotonic_s() + deadline_s - clock.wall_s())


def wall_clock(original: Any) -> Any:
    def init(self: Membership, registry: Registry, store: Any, clock: Clock, **rest: Any) -> None:
        original(self, registry, store, _WallClock(clock), **rest)

    return init


# Its ids and incarnations


def no_fencing(original: Any) -> Any:
    return lambda self, worker_id, incarnation=0: original(self, worker_id)


def incarnation_stays(original: Any) -> Any:
    def decide(self: Registry, command: Register, now_s: float) -> Any:
        return tuple(replace(event, incarnation=1) for event in original(self, command, now_s))

    return decide


def lost_floor(original: Any) -> Any:
    def floor(snapshot: Snapshot, clock: Clock) -> int:
        return snapshot.incarnation_floor

    return floor


def below_the_floor(original: Any) -> Any:
    def decide(self: Registry, command: Register, now_s: float) -> Any:
        *_, event = original(self, command, now_s)
        before = self.get(event.worker_id)
        return (event if before is None else replace(event, incarnation=before.incarnation + 1),)

    return decide


def double_registration(original: Any) -> Any:
    def assign(
        self: IdBook, command: Register, find: Any, now_s: float
    ) -> tuple[WorkerId, RegistrationOutcome]:
        worker_id, registration = original(self, command, find, now_s)
        if registration is RegistrationOutcome.RENAMED:
            return WorkerId(command.worker_id), RegistrationOutcome.AGAIN
        return worker_id, registration

    return assign


def sequence_ignored(original: Any) -> Any:
    return lambda self, command, now_s: original(self, command._replace(sequence=0), now_s)


def metadata_lost(original: Any) -> Any:
    def decide(self: Registry, command: Register, now_s: float) -> Any:
        return original(self, replace(command, metadata={}), now_s)

    return decide


# What it shows


def unhealthy_offered(original: Any) -> Any:
    def offered(self: Registry) -> Iterator[Worker]:
        return (worker for worker in self.workers() if worker.admin is Admin.ACTIVE)

    return offered


def cordon_ignored(original: Any) -> Any:
    def offered(self: Registry) -> Iterator[Worker]:
        return (worker for worker in self.workers() if worker.health is Health.HEALTHY)

    return offered


def load_forgotten(original: Any) -> Any:
    def apply(self: Registry, event: LeaseRenewed) -> None:
        original(self, event._replace(resources=None))

    return apply


def stats_off_by_one(original: Any) -> Any:
    def stats(workers: Any, now_s: float) -> ClusterStats:
        right = cluster_stats(workers, now_s)
        return replace(right, healthy=right.healthy + (1 if right.unhealthy else 0))

    return stats


def counted_twice(original: Any) -> Any:
    def heartbeat(self: Metrics, result: str) -> None:
        original(self, result)
        original(self, result)

    return heartbeat


def leave_crashes(original: Any) -> Any:
    async def deregister(self: WorkerManagementService, message: Any) -> Any:
        raise RuntimeError("a bug")

    return deregister


# What it keeps


def lost_write(original: Any) -> Any:
    def sync(self: Disk) -> None:
        self._written = [
            change for change in self._written if change.entry is None or change.entry.event_id % 4
        ]
        original(self)

    return sync


def answers_too_soon(original: Any) -> Any:
    async def durable(self: Membership) -> None: ...

    return durable


# Who is not there


def cordon_forgotten(original: Any) -> Any:
    def apply(self: Registry, event: WorkerDeparted) -> None:
        worker = self.get(event.worker_id)
        assert worker is not None
        worker.admin = Admin.ACTIVE
        original(self, event)

    return apply


def departed_forgotten(original: Any) -> Any:
    def assign(
        self: IdBook, command: Register, find: Any, now_s: float
    ) -> tuple[WorkerId, RegistrationOutcome]:
        worker_id, registration = original(self, command, find, now_s)
        if registration is RegistrationOutcome.RETURNED:
            return command.generated_id, RegistrationOutcome.NEW
        return worker_id, registration

    return assign


def leaving_ignored(original: Any) -> Any:
    return lambda self, command, now_s: original(self, command._replace(leaving=False), now_s)


def never_looks_again(original: Any) -> Any:
    async def register_again_if_moved(self: Agent) -> None: ...

    return register_again_if_moved


def endpoint_stays(original: Any) -> Any:
    def apply(self: Registry, event: WorkerRegistered) -> None:
        before = self.known(event.worker_id)
        original(self, event if before is None else replace(event, endpoint=before.endpoint))

    return apply


def stall_ignored(original: Any) -> Any:
    return lambda self, now_s: None


# The worker


def no_reregistration(original: Any) -> Any:
    async def send(self: Agent) -> HeartbeatAnswer | None:
        answer: HeartbeatAnswer | None = await original(self)
        self._registered = True
        return answer

    return send


def no_jitter(original: Any) -> Any:
    return lambda self, failures, random: self.ceiling_s(failures)


def no_backoff(original: Any) -> Any:
    def delay_s(self: Backoff, failures: int, random: Random) -> float:
        return random.uniform(0, 0.2)

    return delay_s
