"""This module converts the workers of the core to their stored records and back."""

from __future__ import annotations

from minicloud.clock import WallAnchor
from minicloud.core.model import Departed, Departure, Worker
from minicloud.store.port import StoredWorker


def to_stored(worker: Worker, wall: WallAnchor) -> StoredWorker:
    """Return the record of `worker`, with its instants as Unix milliseconds."""
    unix_ms = wall.unix_ms
    leaving_since_s, departed = worker.leaving_since_s, worker.departed
    return StoredWorker(
        worker_id=worker.worker_id,
        endpoint=worker.endpoint,
        instance_id=worker.instance_id,
        wanted_id=worker.wanted_id,
        metadata=worker.metadata,
        incarnation=worker.incarnation,
        registered_at_ms=unix_ms(worker.registered_at_s),
        last_heartbeat_ms=unix_ms(worker.last_heartbeat_s),
        health=worker.health,
        health_reason=worker.health_reason,
        health_since_ms=unix_ms(worker.health_since_s),
        admin=worker.admin,
        admin_reason=worker.admin_reason,
        admin_since_ms=unix_ms(worker.admin_since_s),
        resources=worker.resources,
        leaving_since_ms=0 if leaving_since_s is None else unix_ms(leaving_since_s),
        heard_run=worker.heard_run,
        departure="" if departed is None else departed.departure.value,
        departure_reason="" if departed is None else departed.reason,
        departed_at_ms=0 if departed is None else unix_ms(departed.at_s),
    )


def from_stored(stored: StoredWorker, wall: WallAnchor, now_s: float) -> Worker:
    """Return the worker of a record. No instant is after `now_s`, as the wall clock may have been set back
    since."""

    def monotonic_s(unix_ms: int) -> float:
        return min(wall.monotonic_s(unix_ms), now_s)

    departed = None
    if stored.departure:
        departed = Departed(
            Departure(stored.departure), stored.departure_reason, monotonic_s(stored.departed_at_ms)
        )
    return Worker(
        worker_id=stored.worker_id,
        endpoint=stored.endpoint,
        instance_id=stored.instance_id,
        wanted_id=stored.wanted_id,
        metadata=stored.metadata,
        incarnation=stored.incarnation,
        registered_at_s=monotonic_s(stored.registered_at_ms),
        last_heartbeat_s=monotonic_s(stored.last_heartbeat_ms),
        health=stored.health,
        health_reason=stored.health_reason,
        health_since_s=monotonic_s(stored.health_since_ms),
        admin=stored.admin,
        admin_reason=stored.admin_reason,
        admin_since_s=monotonic_s(stored.admin_since_ms),
        resources=stored.resources,
        leaving_since_s=monotonic_s(stored.leaving_since_ms) if stored.leaving_since_ms else None,
        heard_run=stored.heard_run,
        departed=departed,
    )
