"""The nouns of membership: what a worker is, how loaded it is, and which status follows from its two axes.

Always holds: a `Resources` that exists is valid; only `Registry.apply` writes to a `Worker`. Times are
monotonic seconds of the control plane's clock; wall time is unknown here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType, Self

from minicloud.core.errors import InvalidError
from minicloud.core.liveness.deadlines import Deadline

WorkerId = NewType("WorkerId", str)

DEFAULT_ZONE = "default"
SHUTTING_DOWN = "shutting down"


class Health(StrEnum):
    """Is it there? Decided by leases alone."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"


class Admin(StrEnum):
    """May it be given work? Decided by operators alone; belongs to the id until the id leaves."""

    ACTIVE = "ACTIVE"
    CORDONED = "CORDONED"
    DRAINING = "DRAINING"


class Departure(StrEnum):
    """Why a worker is no longer registered."""

    LEFT = "left"
    DRAINED = "drained"
    REMOVED = "removed"
    REPLACED = "replaced"  # its installation registered under another id
    FORGOTTEN = "forgotten"


class Status(StrEnum):
    """The one status shown to the outside. OFFLINE is that of a worker which is not registered."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    OFFLINE = "OFFLINE"


_LARGEST_INT64 = 2**63 - 1


class _Figures(NamedTuple):
    cpu_cores: int
    memory_mb: int
    disk_mb: int
    active_queries: int
    cpu_utilization: float
    memory_utilization: float
    memory_used_mb: int
    disk_used_mb: int


class Resources(_Figures):
    """What a worker has and how much of it is in use.

    Sizes are MiB, totals unless named `used`; utilisations are fractions, 0.0 to 1.0. Raises `InvalidError`
    for a negative figure, a NaN or a fraction outside its range, naming the field.

    A named tuple: it is made twice for every heartbeat, and a frozen dataclass takes two and a half times as
    long to make.
    """

    __slots__ = ()

    def __new__(
        cls,
        cpu_cores: int = 0,
        memory_mb: int = 0,
        disk_mb: int = 0,
        active_queries: int = 0,
        cpu_utilization: float = 0.0,
        memory_utilization: float = 0.0,
        memory_used_mb: int = 0,
        disk_used_mb: int = 0,
    ) -> Self:
        self = tuple.__new__(
            cls,
            (
                cpu_cores,
                memory_mb,
                disk_mb,
                active_queries,
                cpu_utilization,
                memory_utilization,
                memory_used_mb,
                disk_used_mb,
            ),
        )
        # One chained test on the path of every heartbeat; the culprit is only looked for when it fails.
        # A NaN fails every comparison, and so this one.
        if not (
            0.0 <= cpu_utilization <= 1.0
            and 0.0 <= memory_utilization <= 1.0
            and 0 <= cpu_cores <= _LARGEST_INT64
            and 0 <= memory_mb <= _LARGEST_INT64
            and 0 <= disk_mb <= _LARGEST_INT64
            and 0 <= active_queries <= _LARGEST_INT64
            and 0 <= memory_used_mb <= _LARGEST_INT64
            and 0 <= disk_used_mb <= _LARGEST_INT64
        ):
            raise InvalidError(self._fault())
        return self

    def _fault(self) -> str:
        for name, value in zip(self._fields, self, strict=True):
            if name.endswith("utilization"):
                if math.isnan(value) or not 0.0 <= value <= 1.0:
                    return f"resources.{name} is {value}: it must be a fraction from 0.0 to 1.0"
            elif not 0 <= value <= _LARGEST_INT64:
                return f"resources.{name} is {value}: it must be 0 or more"
        raise AssertionError("no field is at fault")


@dataclass(frozen=True, slots=True)
class Departed:
    """How and when a worker departed."""

    departure: Departure
    reason: str
    at_s: float


@dataclass(slots=True)
class Worker:
    """A registered worker, or one that has departed and is remembered. Only `Registry.apply` changes it.

    `wanted_id` is the id it asked for, which may differ from the id it was given. A worker that registers
    again by its given id keeps its `wanted_id`. `sequence` is that of the last heartbeat counted for this
    incarnation, 0 before the first. Each axis has its own reason and since. `leaving_since_s` is set once
    the worker has announced that it is shutting down. `heard_run` is the number of the control plane's run
    in which it was last heard. `departed` is set once it is no longer registered.
    """

    worker_id: WorkerId
    endpoint: str
    instance_id: str
    wanted_id: str
    metadata: Mapping[str, str]
    incarnation: int
    registered_at_s: float
    last_heartbeat_s: float
    health: Health
    health_reason: str
    health_since_s: float
    admin: Admin
    admin_reason: str
    admin_since_s: float
    resources: Resources
    sequence: int = 0
    leaving_since_s: float | None = None
    heard_run: int = 0
    departed: Departed | None = None
    # When HEALTHY its lease, when UNHEALTHY or departed the end of its retention.
    deadline: Deadline = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.deadline = Deadline(self.worker_id)

    @property
    def status(self) -> Status:
        """OFFLINE and UNHEALTHY win over what operators and the worker itself announced.

        A cordoned worker shows as DRAINING: the wire knows no cordoned status, and a scheduler in the field
        that gives work to HEALTHY workers must not be shown one it has to spare.
        """
        if self.departed is not None:
            return Status.OFFLINE
        if self.health is Health.UNHEALTHY:
            return Status.UNHEALTHY
        if self.admin is Admin.ACTIVE and self.leaving_since_s is None:
            return Status.HEALTHY
        return Status.DRAINING

    @property
    def schedulable(self) -> bool:
        """Whether it may be given new work."""
        return self.status is Status.HEALTHY

    @property
    def status_reason(self) -> str:
        """Why the status is what it is, for a person."""
        if self.departed is not None:
            return self.departed.reason
        if self.status is not Status.DRAINING:
            return self.health_reason
        return self.admin_reason if self.leaving_since_s is None else SHUTTING_DOWN

    @property
    def status_since_s(self) -> float:
        """The instant at which the status became what it is."""
        if self.departed is not None:
            return self.departed.at_s
        if self.status is Status.UNHEALTHY:
            return self.health_since_s
        if self.leaving_since_s is None:
            return max(self.health_since_s, self.admin_since_s)
        if self.admin is Admin.ACTIVE:
            return max(self.health_since_s, self.leaving_since_s)
        return max(self.health_since_s, min(self.admin_since_s, self.leaving_since_s))

    @property
    def zone(self) -> str:
        """The failure domain it named when it registered."""
        return self.metadata.get("zone") or DEFAULT_ZONE


@dataclass(frozen=True, slots=True)
class ClusterStats:
    """The cluster in one line. Totals cover every registered worker, utilisations the HEALTHY ones
    (0.0 where there are none); `healthy + unhealthy + draining == total`."""

    total: int = 0
    healthy: int = 0
    unhealthy: int = 0
    draining: int = 0
    cpu_cores: int = 0
    memory_mb: int = 0
    memory_used_mb: int = 0
    active_queries: int = 0
    mean_cpu_utilization: float = 0.0
    max_cpu_utilization: float = 0.0
    mean_memory_utilization: float = 0.0
    max_memory_utilization: float = 0.0
    oldest_heartbeat_age_s: float = 0.0
