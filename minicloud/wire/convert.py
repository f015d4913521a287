"""This module converts between generated messages and core types, and refuses invalid figures."""

from __future__ import annotations

from datetime import UTC, datetime

from minicloud.core.model import Resources, Status, Worker
from minicloud.wire.gen.minicloud.common import ResourceInfo, WorkerInfo, WorkerStatus

_STATUS_TO_WIRE = {status: WorkerStatus[status.value] for status in Status}
_STATUS_FROM_WIRE = {wire: status for status, wire in _STATUS_TO_WIRE.items()}


def status_to_wire(status: Status) -> WorkerStatus:
    """Return the wire's value of `status`."""
    return _STATUS_TO_WIRE[status]


def status_from_wire(status: WorkerStatus) -> Status | None:
    """Return the status of that wire number, None for a number that this version does not have."""
    return _STATUS_FROM_WIRE.get(status)


def timestamp(unix_ms: int) -> datetime:
    """Return Unix milliseconds as a message's timestamp."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def resources_to_message(resources: Resources) -> ResourceInfo:
    """Return the message of `resources`."""
    return ResourceInfo(
        cpu_cores=resources.cpu_cores,
        memory_mb=resources.memory_mb,
        disk_mb=resources.disk_mb,
        active_queries=resources.active_queries,
        cpu_utilization=resources.cpu_utilization,
        memory_utilization=resources.memory_utilization,
        memory_used_mb=resources.memory_used_mb,
        disk_used_mb=resources.disk_used_mb,
    )


def resources_from_message(message: ResourceInfo | None) -> Resources | None:
    """Return the figures of a peer, None if it sent none. Raises `InvalidError` for impossible ones.

    Workers from before `memory_used_mb` send the fraction alone; the size is derived from it.
    """
    if message is None:
        return None
    resources = Resources(
        message.cpu_cores,
        message.memory_mb,
        message.disk_mb,
        message.active_queries,
        message.cpu_utilization,
        message.memory_utilization,
        message.memory_used_mb,
        message.disk_used_mb,
    )
    if resources.memory_used_mb == 0 and resources.memory_utilization > 0:
        # As a float the product may come out larger than the total.
        used_mb = min(round(resources.memory_mb * resources.memory_utilization), resources.memory_mb)
        return resources._replace(memory_used_mb=used_mb)
    return resources


def worker_to_message(worker: Worker, last_heartbeat_ms: int, registered_at_ms: int) -> WorkerInfo:
    """Return the message of `worker`, with its times in Unix milliseconds."""
    return WorkerInfo(
        worker_id=worker.worker_id,
        endpoint=worker.endpoint,
        status=status_to_wire(worker.status),
        resources=resources_to_message(worker.resources),
        last_heartbeat=timestamp(last_heartbeat_ms),
        metadata=dict(worker.metadata),
        registered_at=timestamp(registered_at_ms),
        incarnation=worker.incarnation,
        status_reason=worker.status_reason,
    )
