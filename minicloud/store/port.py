"""This is the port between membership and its store.

A store takes changes in order and reports when they are durable. It keeps, by worker id, the last record of
each worker that is registered or remembered, the incarnation floor, the newest runs of the control plane and
the newest entries of the history. Its times are wall time, because monotonic times mean nothing to the next
process.

A store that cannot write refuses what has to be durable (`check_accepting`). It still takes what happens
anyway, such as a lease that expires, and writes it once it can (DESIGN 79).

Heartbeats are not stored. `last_heartbeat_ms` is the last one known when another change was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.core.liveness.grace import Run
from minicloud.core.model import Admin, Health, Resources, Status, WorkerId

MAX_RUNS = 100  # of the control plane; older ones have no effect on leases that still last
HISTORY_ENTRIES = 10_000  # about 3 MB in memory: some hours of a large cluster's changes


@dataclass(frozen=True, slots=True)
class MembershipEvent:
    """A `MembershipEvent` is one entry of the history, as people and tools see it.

    `event_id` rises by one an entry, across restarts. `kind` is registered, departed, unhealthy, recovered,
    cordoned, uncordoned, draining or leaving; `detail` names the sort of registration or departure, and is
    empty for the other kinds. `old_status` is OFFLINE for a worker that was not registered, `new_status` for
    one that no longer is. `request_id` is that of the request which caused the change, if one did.
    """

    event_id: int
    at_ms: int
    kind: str
    detail: str
    worker_id: WorkerId
    incarnation: int
    endpoint: str
    old_status: Status
    new_status: Status
    reason: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredWorker:
    """A `StoredWorker` is the stored record of a worker. Its times are Unix milliseconds.

    `leaving_since_ms` is 0 unless the worker announced that it is shutting down. `heard_run` is the number of
    the run in which it was last heard. `departure` is empty for a registered worker.
    """

    worker_id: WorkerId
    endpoint: str
    instance_id: str
    wanted_id: str
    metadata: Mapping[str, str]
    incarnation: int
    registered_at_ms: int
    last_heartbeat_ms: int
    health: Health
    health_reason: str
    health_since_ms: int
    admin: Admin
    admin_reason: str
    admin_since_ms: int
    resources: Resources
    leaving_since_ms: int = 0
    heard_run: int = 0
    departure: str = ""
    departure_reason: str = ""
    departed_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A `Change` is one step of membership.

    `worker` is the record of `worker_id` from now on; None removes the record. The `worker_id` is empty if
    the change concerns no worker. `entry` is the entry of the history, if the change has one. `run` replaces
    the record of the run of that number.
    """

    worker_id: WorkerId | Literal[""]
    worker: StoredWorker | None
    incarnation_floor: int
    entry: MembershipEvent | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A `Snapshot` is everything that a store holds when it is opened: workers in the order of ids,
    entries and runs oldest first."""

    workers: tuple[StoredWorker, ...] = ()
    entries: tuple[MembershipEvent, ...] = ()
    incarnation_floor: int = 0
    last_event_id: int = 0
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreObserver:
    """A `StoreObserver` has callbacks, which a store calls on the loop.

    `batch_written` gets the number of changes in a batch and the seconds until it was durable.
    `fault_changed` gets the reason for which the store accepts no changes from now on, empty if it does.
    `history_dropped` gets the number of entries that are not kept, because more are waiting than the history
    holds.
    """

    batch_written: Callable[[int, float], None] = field(default=lambda changes, seconds: None)
    fault_changed: Callable[[str], None] = field(default=lambda fault: None)
    history_dropped: Callable[[int], None] = field(default=lambda entries: None)


class Store(Protocol):
    """A `Store` is loaded once with `load`, then `run` runs for as long as changes are appended."""

    async def load(self) -> Snapshot:
        """Return everything that is kept. Raises `StoreError`, with the remedy, if it cannot be read."""
        ...

    def check_accepting(self) -> None:
        """Return if a change that has to be durable may be made now. Raises `StoreUnavailableError`
        while the store cannot write."""
        ...

    def append(self, change: Change) -> None:
        """Queue `change` behind all those before it. Never blocks and never fails, also while the
        store cannot write."""
        ...

    async def flushed(self) -> None:
        """Return once every change appended before this call is durable. Raises `StoreUnavailableError` if
        the store cannot write; it still writes those changes once it can."""
        ...

    @property
    def durable_event_id(self) -> int:
        """Return the id of the newest entry that is durable, 0 if there is none."""
        ...

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Write changes until cancelled, and try again if that fails. Once cancelled, raises
        `StoreWriteError` if changes are left that could not be written.

        Raises `LeadershipLostError` as soon as another control plane writes to the same registry: the process
        has to end (DESIGN 84).
        """
        ...
