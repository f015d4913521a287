"""This module has the JSON of the REST API, one struct for each shape, and the conversions from core types.

Names are camelCase on the wire. Times are Unix milliseconds, ages milliseconds, sizes MiB, utilisations
fractions from 0.0 to 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from minicloud.clock import Clock, WallAnchor
from minicloud.core.model import Admin, ClusterStats, Resources, Status, Worker
from minicloud.store.port import MembershipEvent

Count = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
UnixMs = Annotated[int, Meta(description="Unix time in milliseconds.")]


class ResourcesJson(Struct, frozen=True, rename="camel"):
    """What a worker has and how much of it is in use, as of its last heartbeat."""

    cpu_cores: Count
    memory_mb: Count
    disk_mb: Count
    active_queries: Count
    cpu_utilization: Fraction
    memory_utilization: Fraction
    memory_used_mb: Count
    disk_used_mb: Count


class WorkerJson(Struct, frozen=True, rename="camel"):
    """A registered worker, or an OFFLINE one that has departed."""

    worker_id: str
    endpoint: Annotated[str, Meta(description="host:port of its gRPC server.")]
    status: Annotated[Status, Meta(description="DRAINING is also shown for a cordoned worker.")]
    resources: ResourcesJson
    last_heartbeat_ms: UnixMs
    metadata: dict[str, str]
    registered_at_ms: UnixMs
    incarnation: Annotated[
        int,
        Meta(
            ge=1,
            description="Rises each time the id is registered again; above the Unix milliseconds of the "
            "control plane's start then, so that it does although a registry was lost.",
        ),
    ]
    heartbeat_age_ms: Count
    status_reason: Annotated[str, Meta(description="Why the status is what it is, for a person.")]
    status_since_ms: UnixMs
    status_age_ms: Count
    admin_state: Annotated[Admin, Meta(description="What operators have said about it.")]
    admin_reason: Annotated[
        str, Meta(description="The reason they gave, else what they did; empty if they have said nothing.")
    ]
    schedulable: Annotated[bool, Meta(description="Whether it may be given new work.")]
    zone: Annotated[str, Meta(description="Failure domain it named; 'default' if it named none.")]


class StatsJson(Struct, frozen=True, rename="camel"):
    """The cluster in one line. Totals cover every registered worker, utilisations the HEALTHY ones."""

    total_workers: Count
    healthy_workers: Count
    unhealthy_workers: Count
    draining_workers: Count
    total_cpu_cores: Count
    total_memory_mb: Count
    used_memory_mb: Count
    active_queries: Count
    mean_cpu_utilization: Fraction
    max_cpu_utilization: Fraction
    mean_memory_utilization: Fraction
    max_memory_utilization: Fraction
    oldest_heartbeat_age_ms: Count


class EventJson(Struct, frozen=True, rename="camel"):
    """One change of membership."""

    event_id: Annotated[int, Meta(ge=1, description="Rises by one an event, across restarts.")]
    at_ms: UnixMs
    kind: Annotated[
        str,
        Meta(
            description="registered, departed, unhealthy, recovered, cordoned, uncordoned, draining or "
            "leaving.",
        ),
    ]
    detail: Annotated[
        str,
        Meta(
            description="The sort of registration (new, again, returned, takeover, renamed, clone) or "
            "departure (left, drained, removed, replaced, forgotten); else empty."
        ),
    ]
    worker_id: str
    incarnation: int
    endpoint: str
    old_status: Annotated[Status, Meta(description="OFFLINE for a worker that was not there.")]
    new_status: Annotated[Status, Meta(description="OFFLINE for a worker that no longer is.")]
    reason: str
    request_id: Annotated[str, Meta(description="The request that caused it, if one did.")]


class GapJson(Struct, frozen=True, rename="camel"):
    """Events between these two ids are no longer kept; read the workers anew."""

    last_event_id: int
    resumed_after_event_id: int


class ProbeJson(Struct, frozen=True, rename="camel"):
    """A probe that found all well."""

    status: str


class ProblemJson(Struct, frozen=True, rename="camel"):
    """What went wrong, and what would be right (RFC 9457)."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    request_id: Annotated[str, Meta(description="Names the request in the log of the control plane.")]


@dataclass(frozen=True, slots=True)
class Moment:
    """This is the instant at which workers are shown. It converts monotonic instants to wall time.

    One is taken for each answer, as three clock reads for each worker took a third of a long list's time.
    """

    now_s: float
    wall_offset_s: float

    @classmethod
    def of(cls, clock: Clock, wall: WallAnchor) -> Moment:
        return cls(clock.monotonic_s(), -wall.monotonic_s(0))

    def unix_ms(self, at_s: float) -> int:
        return round((at_s + self.wall_offset_s) * 1000)

    def age_ms(self, at_s: float) -> int:
        return max(0, round((self.now_s - at_s) * 1000))


def worker_json(worker: Worker, moment: Moment) -> WorkerJson:
    """Return `worker` as of `moment`."""
    status_since_s = worker.status_since_s
    return WorkerJson(
        worker_id=worker.worker_id,
        endpoint=worker.endpoint,
        status=worker.status,
        resources=_resources_json(worker.resources),
        last_heartbeat_ms=moment.unix_ms(worker.last_heartbeat_s),
        metadata=dict(worker.metadata),
        registered_at_ms=moment.unix_ms(worker.registered_at_s),
        incarnation=worker.incarnation,
        heartbeat_age_ms=moment.age_ms(worker.last_heartbeat_s),
        status_reason=worker.status_reason,
        status_since_ms=moment.unix_ms(status_since_s),
        status_age_ms=moment.age_ms(status_since_s),
        admin_state=worker.admin,
        admin_reason=worker.admin_reason,
        schedulable=worker.schedulable,
        zone=worker.zone,
    )


def _resources_json(resources: Resources) -> ResourcesJson:
    return ResourcesJson(
        resources.cpu_cores,
        resources.memory_mb,
        resources.disk_mb,
        resources.active_queries,
        resources.cpu_utilization,
        resources.memory_utilization,
        resources.memory_used_mb,
        resources.disk_used_mb,
    )


def stats_json(stats: ClusterStats) -> StatsJson:
    return StatsJson(
        total_workers=stats.total,
        healthy_workers=stats.healthy,
        unhealthy_workers=stats.unhealthy,
        draining_workers=stats.draining,
        total_cpu_cores=stats.cpu_cores,
        total_memory_mb=stats.memory_mb,
        used_memory_mb=stats.memory_used_mb,
        active_queries=stats.active_queries,
        mean_cpu_utilization=stats.mean_cpu_utilization,
        max_cpu_utilization=stats.max_cpu_utilization,
        mean_memory_utilization=stats.mean_memory_utilization,
        max_memory_utilization=stats.max_memory_utilization,
        oldest_heartbeat_age_ms=round(stats.oldest_heartbeat_age_s * 1000),
    )


def event_json(entry: MembershipEvent) -> EventJson:
    return EventJson(
        event_id=entry.event_id,
        at_ms=entry.at_ms,
        kind=entry.kind,
        detail=entry.detail,
        worker_id=entry.worker_id,
        incarnation=entry.incarnation,
        endpoint=entry.endpoint,
        old_status=entry.old_status,
        new_status=entry.new_status,
        reason=entry.reason,
        request_id=entry.request_id,
    )
