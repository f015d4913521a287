"""Membership shows nothing past its deadline, and setting the wall clock moves no deadline (DESIGN 7, 9)."""

from __future__ import annotations

import math

import pytest

from minicloud.core.commands import (
    Heartbeat,
)
from minicloud.core.model import Status
from tests.unit.control.house import RETENTION_S, START_S, TIMEOUT_S, WALL_S, House


@pytest.fixture
def house() -> House:
    return House()


def test_read_at_exactly_the_deadline_shows_the_worker_unhealthy(house: House) -> None:
    house.register()
    house.clock.now_s = math.nextafter(START_S + TIMEOUT_S, 0.0)
    assert house.worker().status is Status.HEALTHY
    assert house.sweeps == []
    house.clock.now_s = START_S + TIMEOUT_S
    assert house.worker().status is Status.UNHEALTHY
    assert len(house.sweeps) == 1


def test_stats_at_exactly_the_deadline_count_the_worker_unhealthy(house: House) -> None:
    house.register()
    house.clock.now_s += TIMEOUT_S
    assert (house.membership.stats().healthy, house.membership.stats().unhealthy) == (0, 1)


def test_command_at_exactly_the_deadline_finds_the_lease_expired(house: House) -> None:
    house.register()
    house.clock.now_s += TIMEOUT_S
    house.do(Heartbeat("w"))
    assert [entry.kind for entry in house.store.entries] == ["registered", "unhealthy", "recovered"]
    house.clock.now_s += TIMEOUT_S
    assert house.register(instance="B", endpoint="10.0.0.8:9091") == "w"
    assert house.last.detail == "takeover"


def test_next_deadline_sweeps_nothing_itself(house: House) -> None:
    assert house.membership.next_deadline_s() == math.inf
    house.register()
    house.clock.now_s += TIMEOUT_S + 1.0
    assert house.membership.next_deadline_s() == START_S + TIMEOUT_S
    assert house.sweeps == []


def test_sweep_tells_how_late_it_began(house: House) -> None:
    house.register()
    house.clock.now_s += TIMEOUT_S + 0.25
    house.worker()
    assert house.sweeps == [(0.0, 0.25)]


def test_read_after_a_gap_longer_than_the_retention_shows_nobody_past_a_deadline(house: House) -> None:
    house.register()
    house.clock.now_s += TIMEOUT_S + RETENTION_S
    assert house.membership.sweep_due().get("w") is None
    assert [entry.kind for entry in house.store.entries] == ["registered", "unhealthy", "departed"]
    house.clock.now_s += TIMEOUT_S + RETENTION_S
    house.register()
    assert house.last.detail == "new"


@pytest.mark.parametrize("step_s", [-10 * 365 * 86400.0, -3600.0, 3600.0, 10 * 365 * 86400.0])
def test_wall_clock_that_is_set_changes_no_lease(house: House, step_s: float) -> None:
    house.register()
    house.clock.now_s += 60.0
    house.clock.set_wall_s(WALL_S + 60.0 + step_s)
    assert house.membership.next_deadline_s() == START_S + TIMEOUT_S
    assert house.worker().status is Status.HEALTHY
    house.do(Heartbeat("w"))
    house.clock.now_s += TIMEOUT_S - 0.001
    assert house.worker().status is Status.HEALTHY
    house.clock.now_s = START_S + 60.0 + TIMEOUT_S
    assert house.worker().status is Status.UNHEALTHY
    assert house.last.at_ms == round((WALL_S + 60.0 + step_s + TIMEOUT_S) * 1000)
