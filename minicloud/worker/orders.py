"""What a control plane tells a worker with the answer to a heartbeat. Pure."""

from __future__ import annotations

from enum import StrEnum

from minicloud.core.model import Status
from minicloud.worker.control_plane import HeartbeatAnswer


class Order(StrEnum):
    """What the control plane last told this worker to do."""

    WORK = "work"
    CORDON = "cordon"
    DRAIN = "drain"


def order_in(answer: HeartbeatAnswer) -> Order:
    """An action this version does not know says nothing; then the status we are expected to have does.

    DRAINING without an action is taken for a cordon: a control plane that says no more than that wants no
    new work to go here, and leaving could not be undone.
    """
    if answer.action == "drain":
        return Order.DRAIN
    if answer.action == "cordon" or answer.expected_status is Status.DRAINING:
        return Order.CORDON
    return Order.WORK
