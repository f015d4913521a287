"""Events are the changes of membership. `Registry.decide` returns them and `Registry.apply` carries them out.

Each has all that applying it needs, `at_s` included. Always holds: the same events applied in the same order
to an empty registry end in the same state (`tests/unit/core/test_registry_model.py`).

`LeaseRenewed` and `RivalHeard` are not stored. `WorkerHeard` and `DepartureExpired` are stored without an
entry in the history. All others have an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from minicloud.core.model import Admin, Departure, Resources, Worker, WorkerId


class RegistrationOutcome(StrEnum):
    """An outcome is the reason for which a registration got its id."""

    NEW = "new"  # the id was free, or generated
    AGAIN = "again"  # the installation has the id already
    RETURNED = "returned"  # the installation had the id when it departed
    TAKEOVER = "takeover"  # the id was that of an UNHEALTHY worker of another installation
    RENAMED = "renamed"  # a live worker has the wanted id; this is a variant of it
    CLONE = "clone"  # a live worker has the same identity; this is a variant of its id


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    worker_id: WorkerId
    at_s: float
    incarnation: int
    registration: RegistrationOutcome
    endpoint: str
    instance_id: str
    wanted_id: str
    resources: Resources
    metadata: Mapping[str, str]
    admin: Admin
    admin_reason: str
    admin_since_s: float


@dataclass(frozen=True, slots=True)
class WorkerLoaded:
    """A registered or departed worker was loaded from the store after a restart.

    `lease_until_s` is the end of a HEALTHY worker's lease unless a heartbeat renews it.
    """

    worker_id: WorkerId
    at_s: float
    worker: Worker
    lease_until_s: float


class LeaseRenewed(NamedTuple):
    worker_id: WorkerId
    at_s: float
    sequence: int
    resources: Resources | None


@dataclass(frozen=True, slots=True)
class WorkerHeard:
    """A worker that an earlier run registered sent its first heartbeat in this one; `LeaseRenewed`
    follows."""

    worker_id: WorkerId
    at_s: float


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    """A worker announced that it is shutting down; `LeaseRenewed` follows."""

    worker_id: WorkerId
    at_s: float


@dataclass(frozen=True, slots=True)
class RivalHeard:
    """A heartbeat arrived from the installation that held this id before the present one."""

    worker_id: WorkerId
    at_s: float


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """A worker's lease ended at `at_s`, which is the deadline even if the sweep is late."""

    worker_id: WorkerId
    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerRecovered:
    """An UNHEALTHY worker sent a heartbeat; `LeaseRenewed` follows."""

    worker_id: WorkerId
    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class AdminChanged:
    """An operator changed the admin state of a registered or a departed worker."""

    worker_id: WorkerId
    at_s: float
    admin: Admin
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerDeparted:
    worker_id: WorkerId
    at_s: float
    departure: Departure
    reason: str


@dataclass(frozen=True, slots=True)
class DepartureExpired:
    """A departed worker is no longer remembered."""

    worker_id: WorkerId
    at_s: float


Event = (
    WorkerRegistered
    | WorkerLoaded
    | WorkerHeard
    | WorkerLeaving
    | RivalHeard
    | LeaseRenewed
    | LeaseExpired
    | WorkerRecovered
    | AdminChanged
    | WorkerDeparted
    | DepartureExpired
)
