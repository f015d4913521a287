"""What happened to membership. Events come out of `Registry.decide` and change it in `Registry.apply`.

Each carries all that applying it needs, `at_s` included: applying the same events in the same order to an
empty registry always ends in the same state. `LeaseRenewed` alone is transient; every other one is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from minicloud.core.model import Admin, Resources, Worker, WorkerId


class Registration(StrEnum):
    """How an id came to be given."""

    NEW = "new"  # it was free, or generated
    AGAIN = "again"  # to the installation that has it already
    TAKEOVER = "takeover"  # from another that had gone silent
    RENAMED = "renamed"  # another, live, has the wanted one: this is a variant of it


class Departure(StrEnum):
    """Why a worker is no longer registered."""

    LEFT = "left"
    DRAINED = "drained"
    REMOVED = "removed"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    worker_id: WorkerId
    at_s: float
    incarnation: int
    registration: Registration
    endpoint: str
    instance_id: str
    wanted_id: str
    resources: Resources
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WorkerRestored:
    """A worker known before a restart, as it was kept; its lease, if any, starts anew at `at_s`."""

    worker_id: WorkerId
    at_s: float
    worker: Worker


class LeaseRenewed(NamedTuple):
    worker_id: WorkerId
    at_s: float
    sequence: int
    resources: Resources | None


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """`at_s` is the deadline itself, however late the sweep that found it."""

    worker_id: WorkerId
    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseRestored:
    """An UNHEALTHY worker spoke again; a `LeaseRenewed` follows."""

    worker_id: WorkerId
    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class AdminChanged:
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


Event = (
    WorkerRegistered
    | WorkerRestored
    | LeaseRenewed
    | LeaseExpired
    | LeaseRestored
    | AdminChanged
    | WorkerDeparted
)
