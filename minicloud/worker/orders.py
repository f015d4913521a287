"""This module reads the control plane's order in the answer to a heartbeat. It is pure."""

from __future__ import annotations

from enum import StrEnum

from minicloud.core.model import Status
from minicloud.worker.control_plane import HeartbeatAnswer


class Order(StrEnum):
    """An order is the last one that the control plane gave to this worker."""

    WORK = "work"
    CORDON = "cordon"
    DRAIN = "drain"


def order_in(answer: HeartbeatAnswer) -> Order:
    """Return the order in `answer`: that of a known action, else that of the expected status.

    DRAINING without an action is taken for a cordon, as a drain would make the worker leave, which is final.
    """
    if answer.action == "drain":
        return Order.DRAIN
    if answer.action == "cordon" or answer.expected_status is Status.DRAINING:
        return Order.CORDON
    return Order.WORK
