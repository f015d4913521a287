"""What happened to membership. Events come out of `Registry.decide` and change it in `Registry.apply`.

Each carries all that applying it needs, `at_s` included: applying the same events in the same order to an
empty registry always ends in the same state. `LeaseRenewed` and `RivalHeard` are transient. Of the others,
`WorkerHeard` and `DepartureExpired` change what is stored and are no part of the history; the rest are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from minicloud.core.model import Admin, Departure, Resources, Worker, WorkerId


class RegistrationOutcome(StrEnum):
    """How an id came to be given."""

    NEW = "new"  # it was free, or generated
    AGAIN = "again"  # to the installation that has it already
    RETURNED = "returned"  # to the installation that had it before it departed
    TAKEOVER = "takeover"  # from another that had gone silent
    RENAMED = "renamed"  # another, live, has the wanted one: this is a variant of it
    CLONE = "clone"  # another, live, has the same identity: this is a variant of its id


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
    """A worker known before a restart, registered or departed, as it was stored.

    `lease_until_s` ends the lease of a HEALTHY one that is not heard before.
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
    """The first heartbeat in this run of a worker that an earlier run registered; `LeaseRenewed` follows."""

    worker_id: WorkerId
    at_s: float


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    """A worker announced that it is shutting down; `LeaseRenewed` follows."""

    worker_id: WorkerId
    at_s: float


@dataclass(frozen=True, slots=True)
class RivalHeard:
    """The installation that this id was last taken from is alive: its heartbeat arrived."""

    worker_id: WorkerId
    at_s: float


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """`at_s` is the deadline itself, however late the sweep that found it."""

    worker_id: WorkerId
    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerRecovered:
    """An UNHEALTHY worker spoke again; a `LeaseRenewed` follows."""

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
