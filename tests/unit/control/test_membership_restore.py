"""After a restart, membership takes up what was stored, and silence counts from the right moment on."""

from __future__ import annotations

import math

import pytest

from minicloud.core.commands import (
    Cordon,
    Drain,
    Heartbeat,
    Remove,
)
from minicloud.core.events import LeaseRenewed
from minicloud.core.model import Status
from tests.unit.control.house import RETENTION_S, TIMEOUT_S, WALL_S, House, restarted


@pytest.fixture
def house() -> House:
    return House()


def test_restore_keeps_every_status_and_reason_and_tells_nobody(house: House) -> None:
    house.register("silent")
    house.clock.now_s += TIMEOUT_S
    house.register("well", instance="B")
    house.register("drained", instance="C")
    house.do(Drain("drained"))
    before = house.membership.sweep_due()
    after = restarted(house)
    assert [
        (worker.worker_id, worker.status, worker.status_reason, worker.incarnation)
        for worker in after.membership.sweep_due().workers()
    ] == [
        (worker.worker_id, worker.status, worker.status_reason, worker.incarnation)
        for worker in before.workers()
    ]
    assert after.store.entries == []
    assert after.store.changes == []


@pytest.mark.parametrize("away_s", [0.0, 119.0, 10 * 86400.0])
def test_restore_gives_a_full_timeout_of_grace_however_long_it_was_away(house: House, away_s: float) -> None:
    house.register()
    after = restarted(house, away_s)
    assert after.membership.next_deadline_s() == 5.0 + TIMEOUT_S
    after.clock.now_s = math.nextafter(5.0 + TIMEOUT_S, 0.0)
    assert after.worker().status is Status.HEALTHY
    after.clock.now_s = 5.0 + TIMEOUT_S
    assert after.worker().status is Status.UNHEALTHY


def test_restore_shows_times_as_they_were(house: House) -> None:
    house.register()
    house.clock.now_s += 30.0
    house.do(Cordon("w"))
    after = restarted(house, away_s=10.0)
    worker, unix_ms = after.worker(), after.membership.wall.unix_ms
    assert unix_ms(worker.registered_at_s) == round(WALL_S * 1000)
    assert unix_ms(worker.admin_since_s) == round((WALL_S + 30.0) * 1000)
    assert after.membership.stats().oldest_heartbeat_age_s == pytest.approx(40.0)


def test_restore_goes_on_counting_events_and_incarnations(house: House) -> None:
    house.register()
    house.register()
    house.do(Remove("w"))
    after = restarted(house)
    after.register()
    assert (after.last.event_id, after.last.incarnation) == (4, 3)


def test_restore_lets_a_worker_go_on_in_its_incarnation_with_any_sequence(house: House) -> None:
    house.register()
    house.do(Heartbeat("w", None, 1, 500))
    after = restarted(house)
    assert type(after.membership.execute(Heartbeat("w", None, 1, 501))[-1]) is LeaseRenewed
    after = restarted(house)
    assert type(after.membership.execute(Heartbeat("w", None, 1, 1))[-1]) is LeaseRenewed


def test_restore_forgets_the_silent_by_when_they_fell_silent(house: House) -> None:
    house.register("z-first")
    house.clock.now_s += 60.0
    house.register("a-second", instance="B")
    house.clock.now_s += TIMEOUT_S
    assert house.membership.stats().unhealthy == 2
    after = restarted(house, away_s=RETENTION_S - 30.0)
    assert [worker.worker_id for worker in after.membership.sweep_due().workers()] == ["a-second"]
    after.clock.now_s += 30.0
    assert len(after.membership.sweep_due()) == 0
    assert [entry.detail for entry in after.store.entries] == ["forgotten", "forgotten"]


def test_restore_after_the_wall_clock_was_set_back_shows_nothing_in_the_future(house: House) -> None:
    house.register("well")
    house.register("silent", instance="B")
    house.do(Cordon("well"))
    house.clock.now_s += 60.0
    house.do(Heartbeat("well"))
    house.clock.now_s += 60.0
    assert house.membership.stats().unhealthy == 1
    after = restarted(house, wall_step_s=-86400.0)
    for worker in after.membership.sweep_due().workers():
        assert worker.last_heartbeat_s <= 5.0
        assert worker.registered_at_s <= 5.0
        assert worker.status_since_s <= 5.0
    assert after.membership.stats().oldest_heartbeat_age_s == 0.0
    assert after.membership.next_deadline_s() == 5.0 + TIMEOUT_S
    after.clock.now_s += 7.0
    after.do(Heartbeat("silent"))
    assert after.last.reason == "heartbeat after 7 s of silence"
