"""This module makes changes to store by number: every field follows from the number."""

from __future__ import annotations

from minicloud.core.model import Admin, Health, Resources, Status, WorkerId
from minicloud.store.port import Change, MembershipEvent, StoredWorker


def entry(number: int, worker_id: str = "", kind: str = "registered") -> MembershipEvent:
    return MembershipEvent(
        event_id=number,
        at_ms=1_700_000_000_000 + number,
        kind=kind,
        detail="new",
        worker_id=WorkerId(worker_id or f"worker-{number}"),
        incarnation=number,
        endpoint=f"10.0.0.7:{number % 60_000 + 1}",
        old_status=Status.OFFLINE,
        new_status=Status.HEALTHY if kind != "departed" else Status.OFFLINE,
        reason=f"reason {number}",
        request_id=f"{number:016x}",
    )


def stored(number: int, worker_id: str = "") -> StoredWorker:
    return StoredWorker(
        worker_id=WorkerId(worker_id or f"worker-{number}"),
        endpoint=f"10.0.0.7:{number % 60_000 + 1}",
        instance_id=f"{number:032x}",
        wanted_id="wanted",
        metadata={"zone": f"zone-{number % 3}", "ключ": "značka \N{GRINNING FACE} \0 \" '"},
        incarnation=number,
        registered_at_ms=1_700_000_000_001,
        last_heartbeat_ms=1_700_000_000_002,
        health=Health.UNHEALTHY,
        health_reason="no heartbeat for 120 s",
        health_since_ms=1_700_000_000_003,
        admin=Admin.CORDONED,
        admin_reason="cordoned by an operator",
        admin_since_ms=-1,
        resources=Resources(2**31 - 1, 2**63 - 1, 3, 4, 0.1 + 0.2, 1.0, 7, 8),
    )


def kept(number: int, worker_id: str = "", floor: int = 0) -> Change:
    """Return the registration numbered `number`, of a worker of its own unless one is named."""
    line = entry(number, worker_id)
    return Change(line.worker_id, stored(number, worker_id), floor, line)


def gone(number: int, worker_id: str, floor: int = 0) -> Change:
    """Return the departure of `worker_id`."""
    line = entry(number, worker_id, "departed")
    return Change(line.worker_id, None, floor, line)
