"""This module logs membership: one info line for each change, and a warning for each stall."""

from __future__ import annotations

import structlog

from minicloud.store.port import MembershipEvent

log = structlog.get_logger()


def log_event(entry: MembershipEvent) -> None:
    """Log `entry`. This is a subscriber of membership. The event name is `worker_` and the kind of the
    entry."""
    log.info(
        f"worker_{entry.kind}",
        event_id=entry.event_id,
        worker_id=entry.worker_id,
        incarnation=entry.incarnation,
        endpoint=entry.endpoint,
        old_status=entry.old_status.value,
        new_status=entry.new_status.value,
        reason=entry.reason,
        **({"detail": entry.detail} if entry.detail else {}),
    )


def log_stall(by_s: float) -> None:
    """Log a stall of the control plane. This is an observer of membership's stalls."""
    log.warning("control_plane_stalled", seconds=round(by_s, 3))
