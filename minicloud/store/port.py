"""The port between membership and what keeps it.

A store takes changes in order and says when they are durable. It keeps, by worker id, the last record of
each registered worker, the incarnation floor, and the newest entries of the history. It knows wall time
only: monotonic instants mean nothing to the next process.

Heartbeats never come here. `last_heartbeat_ms` is the last one known when another change was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.core.model import Admin, Health, Resources, Status, WorkerId

HISTORY_ENTRIES = 10_000  # about 3 MB in memory: some hours of a large cluster's changes


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history of membership, as people and tools see it.

    `event_id` rises by one an entry, across restarts. `kind` is registered, departed, unhealthy, recovered,
    cordoned, uncordoned or draining; `detail` says which sort of registration or departure it was, and is
    empty for the rest. `old_status` is OFFLINE for a worker that was not there, `new_status` for one that no
    longer is. `request_id` is that of the request which caused it, if one did.
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
    """What is kept of a worker; times in Unix milliseconds."""

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


@dataclass(frozen=True, slots=True)
class Change:
    """One step of membership: its entry, and what is to be kept of the worker after it (None: nothing)."""

    entry: Entry
    worker: StoredWorker | None
    incarnation_floor: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a store holds when it is opened: workers in the order of ids, entries oldest first."""

    workers: tuple[StoredWorker, ...] = ()
    entries: tuple[Entry, ...] = ()
    incarnation_floor: int = 0
    last_event_id: int = 0


@dataclass(frozen=True, slots=True)
class StoreObserver:
    """What a store tells of its work: the changes in a batch and the seconds it took to be durable."""

    batch_written: Callable[[int, float], None] = field(default=lambda changes, seconds: None)


class Store(Protocol):
    """Order of use: `load` once, then `run` for as long as anything is appended."""

    def load(self) -> Snapshot:
        """What is kept. Blocks; raises `StoreError` where it cannot be read, naming the remedy."""
        ...

    def append(self, change: Change) -> None:
        """Queue `change` behind all those before it. Never blocks, never fails."""
        ...

    async def flushed(self) -> None:
        """Return once every change appended before this call is durable."""
        ...

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Write what is appended until cancelled. Raises `StoreWriteError` when it cannot: the process must
        then end, as it has answered for nothing that it did not keep."""
        ...
