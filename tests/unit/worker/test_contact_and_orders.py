"""Outages are found, and the orders in answers are read."""

from __future__ import annotations

import pytest

from minicloud.core.model import Status
from minicloud.worker.contact import Contact, Outage
from minicloud.worker.control_plane import HeartbeatAnswer
from minicloud.worker.orders import Order, order_in


def test_contact_lost_is_news_once_and_remembers_since_when() -> None:
    contact = Contact()
    assert contact.answered() is None
    assert [contact.lost(10.0), contact.lost(20.0)] == [True, False]
    assert contact.outage == Outage(10.0, 2)
    assert contact.answered() == Outage(10.0, 2)
    assert contact.answered() is None
    assert contact.lost(30.0)


@pytest.mark.parametrize(
    ("action", "expected", "order"),
    [
        ("", Status.HEALTHY, Order.WORK),
        ("", Status.UNHEALTHY, Order.WORK),
        ("", Status.OFFLINE, Order.WORK),
        ("", None, Order.WORK),
        ("", Status.DRAINING, Order.CORDON),
        ("cordon", Status.DRAINING, Order.CORDON),
        ("cordon", Status.HEALTHY, Order.CORDON),
        ("drain", Status.DRAINING, Order.DRAIN),
        ("drain", Status.UNHEALTHY, Order.DRAIN),
        ("dance", Status.HEALTHY, Order.WORK),
        ("dance", Status.DRAINING, Order.CORDON),
    ],
)
def test_order_follows_action_then_expected_status(
    action: str, expected: Status | None, order: Order
) -> None:
    assert order_in(HeartbeatAnswer(True, action, expected)) is order
