"""A worker's resources are valid, and its two axes make one status."""

from __future__ import annotations

import math

import pytest

from minicloud.core.errors import InvalidError
from minicloud.core.model import Admin, Health, Resources, Status, Worker, WorkerId

FRACTIONS = ("cpu_utilization", "memory_utilization")
COUNTS = tuple(name for name in Resources._fields if name not in FRACTIONS)


@pytest.mark.parametrize("field", FRACTIONS)
@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, 0.5, 1.0])
def test_resources_with_a_fraction_within_its_range_are_taken(field: str, value: float) -> None:
    assert getattr(Resources(**{field: value}), field) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("field", FRACTIONS)
@pytest.mark.parametrize(
    "value", [-5e-324, -1.0, math.nextafter(1.0, 2.0), 42.0, math.inf, -math.inf, math.nan]
)
def test_resources_with_a_fraction_outside_its_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(
        InvalidError, match=rf"resources\.{field} is .*: it must be a fraction from 0\.0 to 1\.0"
    ):
        Resources(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", COUNTS)
def test_resources_with_a_negative_figure_are_refused_by_name(field: str) -> None:
    assert getattr(Resources(**{field: 2**63 - 1}), field) == 2**63 - 1
    with pytest.raises(InvalidError, match=rf"resources\.{field} is -1: it must be 0 or more"):
        Resources(**{field: -1})


@pytest.mark.parametrize("field", COUNTS)
def test_resources_with_a_figure_no_message_can_carry_are_refused(field: str) -> None:
    with pytest.raises(InvalidError, match=rf"resources\.{field} is {2**63}"):
        Resources(**{field: 2**63})


def worker(health: Health, admin: Admin, health_since_s: float = 1.0, admin_since_s: float = 2.0) -> Worker:
    return Worker(
        WorkerId("w"), "h:1", "", "w", {}, 1, 0.0, 0.0,
        health, "by health", health_since_s, admin, "by admin", admin_since_s, Resources(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("health", "admin", "status", "reason", "schedulable"),
    [
        (Health.HEALTHY, Admin.ACTIVE, Status.HEALTHY, "by health", True),
        (Health.HEALTHY, Admin.CORDONED, Status.DRAINING, "by admin", False),
        (Health.HEALTHY, Admin.DRAINING, Status.DRAINING, "by admin", False),
        (Health.UNHEALTHY, Admin.ACTIVE, Status.UNHEALTHY, "by health", False),
        (Health.UNHEALTHY, Admin.CORDONED, Status.UNHEALTHY, "by health", False),
        (Health.UNHEALTHY, Admin.DRAINING, Status.UNHEALTHY, "by health", False),
    ],
)
def test_status_follows_from_both_axes(
    health: Health, admin: Admin, status: Status, reason: str, schedulable: bool
) -> None:
    each = worker(health, admin)
    assert each.status is status
    assert each.status_reason == reason
    assert each.schedulable is schedulable


@pytest.mark.parametrize(
    ("health", "admin", "health_since_s", "admin_since_s", "since_s"),
    [
        (Health.HEALTHY, Admin.ACTIVE, 1.0, 2.0, 2.0),
        (Health.HEALTHY, Admin.ACTIVE, 3.0, 2.0, 3.0),
        (Health.HEALTHY, Admin.DRAINING, 1.0, 2.0, 2.0),
        (Health.HEALTHY, Admin.CORDONED, 3.0, 2.0, 3.0),  # it came back to DRAINING from UNHEALTHY
        (Health.UNHEALTHY, Admin.DRAINING, 1.0, 2.0, 1.0),  # draining it did not make it UNHEALTHY anew
        (Health.UNHEALTHY, Admin.ACTIVE, 3.0, 2.0, 3.0),
    ],
)
def test_status_since_is_when_the_deciding_axis_last_changed(
    health: Health, admin: Admin, health_since_s: float, admin_since_s: float, since_s: float
) -> None:
    assert worker(health, admin, health_since_s, admin_since_s).status_since_s == since_s


@pytest.mark.parametrize(
    ("metadata", "zone"), [({}, "default"), ({"zone": ""}, "default"), ({"zone": "eu-1a"}, "eu-1a")]
)
def test_zone_is_what_was_named_at_registration(metadata: dict[str, str], zone: str) -> None:
    each = worker(Health.HEALTHY, Admin.ACTIVE)
    each.metadata = metadata
    assert each.zone == zone
