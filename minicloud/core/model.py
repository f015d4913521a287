"""This module defines a worker, its resources, and the status that follows from its health and admin state.

Always holds: a `Resources` that exists is valid (`tests/unit/core/test_model.py`). Times are monotonic
seconds of the control plane's clock.
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
    """Health is the first axis of a status. Leases alone decide it."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"


class Admin(StrEnum):
    """The admin state is the second axis of a status. Operators alone change it, and it belongs to the id
    (DESIGN 13)."""

    ACTIVE = "ACTIVE"
    CORDONED = "CORDONED"
    DRAINING = "DRAINING"


class Departure(StrEnum):
    """A `Departure` is the kind of reason for which a worker is no longer registered."""

    LEFT = "left"
    DRAINED = "drained"
    REMOVED = "removed"
    REPLACED = "replaced"  # its installation registered under another id
    FORGOTTEN = "forgotten"


class Status(StrEnum):
    """A `Status` is the status of a worker that clients see. A worker that is not registered is OFFLINE."""

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
    """A `Resources` has the size of a worker and how much of it is in use.

    Sizes are MiB, totals unless named `used`; utilisations are fractions, 0.0 to 1.0. Raises `InvalidError`
    with the name of the field for a negative figure, a NaN or a fraction outside its range.

    It is made twice for every heartbeat, and is a named tuple because a frozen dataclass takes two and a half
    times as long to make.
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
        # Every heartbeat pays for this one test; `_fault` looks for the field only if it fails. A NaN fails
        # every comparison.
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
    """A `Departed` has the kind, the reason and the time of a worker's departure."""

    departure: Departure
    reason: str
    at_s: float


@dataclass(slots=True)
class Worker:
    """A `Worker` is registered, or has departed and is remembered. Only `RegistryState` changes it.

    `wanted_id` is the id it asked for, which may differ from the id it got. A worker that registers again by
    the id it got keeps its `wanted_id`. `sequence` is that of the last heartbeat counted for this
    incarnation, 0 before the first. `leaving_since_s` is set when the worker announces that it is shutting
    down. `heard_run` is the number of the last run of the control plane in which it registered or sent a
    heartbeat. `departed` is set when it is no longer registered.
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
    # This is the end of the lease of a HEALTHY worker, else the end of the retention.
    deadline: Deadline = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.deadline = Deadline(self.worker_id)

    @property
    def status(self) -> Status:
        """Return OFFLINE or UNHEALTHY, if it is one of them, whatever the operators or the worker announced.

        A cordoned worker shows as DRAINING (DESIGN 14).
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
        """Return True if the worker may get new work."""
        return self.status is Status.HEALTHY

    @property
    def status_reason(self) -> str:
        """Return the reason of the status, as text for people."""
        if self.departed is not None:
            return self.departed.reason
        if self.status is not Status.DRAINING:
            return self.health_reason
        return self.admin_reason if self.leaving_since_s is None else SHUTTING_DOWN

    @property
    def status_since_s(self) -> float:
        """Return the time since which the worker has its present status."""
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
        """Return the failure domain that the worker named when it registered."""
        return self.metadata.get("zone") or DEFAULT_ZONE


@dataclass(frozen=True, slots=True)
class ClusterStats:
    """A `ClusterStats` sums up the cluster. Totals cover every registered worker, utilisations the HEALTHY
    ones (0.0 if there are none).

    Always holds: `healthy + unhealthy + draining == total` (`tests/unit/core/test_registry_model.py`).
    """

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
