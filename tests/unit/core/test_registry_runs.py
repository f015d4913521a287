"""Shutdowns, sequences moved by another sender, stalls and restarts have the right effect on workers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minicloud.core.commands import Cordon, Remove, Uncordon
from minicloud.core.errors import FencedError
from minicloud.core.events import (
    LeaseExpired,
    LeaseRenewed,
    WorkerHeard,
    WorkerLeaving,
    WorkerLoaded,
    WorkerRecovered,
)
from minicloud.core.model import Admin, Health, Resources, Status, Worker, WorkerId
from minicloud.core.registry import FAR_BEHIND, Registry
from tests.unit.core.driver import POLICY, RETENTION_S, TIMEOUT_S, Driver

W = WorkerId("w")


@pytest.fixture
def driver() -> Driver:
    """Return a driver with one worker `w`, in incarnation 1, just registered."""
    driver = Driver()
    driver.register("w", resources=Resources(cpu_cores=8))
    return driver


# Restarts


def known(worker_id: str, health: Health, since_s: float) -> WorkerLoaded:
    """Return a worker known before a restart at instant 1000, and silent for long before it."""
    worker = Worker(
        WorkerId(worker_id), "h:1", worker_id, worker_id, {}, 3, -500.0, -400.0,
        health, "as it was", since_s, Admin.CORDONED, "cordoned", -300.0, Resources(),
    )  # fmt: skip
    return WorkerLoaded(worker.worker_id, 1000.0, worker, 1000.0 + TIMEOUT_S)


def test_worker_restored_keeps_its_status_and_has_a_full_timeout_of_grace() -> None:
    driver = Driver()
    driver.registry.apply(known("w", Health.HEALTHY, -400.0))
    assert driver.registry.next_deadline_s() == 1000.0 + TIMEOUT_S
    assert driver.worker("w").status is Status.DRAINING
    assert driver.give("w", instance="other")[0] == "w-1"
    assert driver.give("w", instance="w")[0] == "w"
    assert driver.worker("w").incarnation == 4


def test_worker_restored_unhealthy_is_forgotten_by_when_it_fell_silent() -> None:
    driver = Driver()
    driver.registry.apply(known("w", Health.UNHEALTHY, -200.0))
    assert driver.worker("w").status is Status.UNHEALTHY
    assert driver.registry.next_deadline_s() == -200.0 + RETENTION_S
    assert len(driver.heartbeat("w", incarnation=3, sequence=1)) == 2
    assert driver.worker("w").status is Status.DRAINING


def test_worker_restored_does_not_change_the_event_it_came_in() -> None:
    driver = Driver()
    event = known("w", Health.HEALTHY, -400.0)
    driver.registry.apply(event)
    driver.heartbeat("w", sequence=9)
    assert event == known("w", Health.HEALTHY, -400.0)


# Shutting down


def test_heartbeat_that_announces_leaving_takes_the_worker_out_of_scheduling(driver: Driver) -> None:
    driver.now_s += 5.0
    leaving, renewed = driver.heartbeat("w", sequence=1, leaving=1)
    assert leaving == WorkerLeaving(W, driver.now_s)
    assert isinstance(renewed, LeaseRenewed)
    worker = driver.worker("w")
    assert (worker.status, worker.status_reason) == (Status.DRAINING, "shutting down")
    assert worker.status_since_s == driver.now_s
    assert not worker.schedulable
    assert list(driver.registry.schedulable_workers()) == []
    assert worker.admin is Admin.ACTIVE
    driver.now_s += 5.0
    assert len(driver.heartbeat("w", sequence=2, leaving=1)) == 1
    assert len(driver.heartbeat("w", sequence=3)) == 1  # a heartbeat that was sent before, and is late
    assert driver.worker("w").leaving_since_s == 1005.0


def test_leaving_worker_that_registers_again_is_offered_again(driver: Driver) -> None:
    driver.heartbeat("w", leaving=1)
    driver.register("w")
    assert driver.worker("w").schedulable


def test_leaving_worker_that_falls_silent_is_unhealthy_and_recovers_as_leaving(driver: Driver) -> None:
    driver.heartbeat("w", leaving=1)
    driver.fall_silent()
    assert driver.worker("w").status is Status.UNHEALTHY
    driver.heartbeat("w")
    assert driver.worker("w").status is Status.DRAINING


def test_silent_worker_that_announces_leaving_recovers_and_is_not_offered(driver: Driver) -> None:
    driver.fall_silent()
    events = driver.heartbeat("w", leaving=1)
    assert [type(event) for event in events] == [WorkerRecovered, WorkerLeaving, LeaseRenewed]
    assert driver.worker("w").status is Status.DRAINING


def test_cordoned_worker_that_leaves_is_draining_since_the_earlier_of_both(driver: Driver) -> None:
    driver.now_s += 5.0
    driver.do(Cordon("w", "its fan"))
    driver.now_s += 5.0
    driver.heartbeat("w", leaving=1)
    worker = driver.worker("w")
    assert (worker.status_reason, worker.status_since_s) == ("shutting down", 1005.0)
    driver.do(Uncordon("w"))
    assert driver.worker("w").status is Status.DRAINING
    assert driver.worker("w").status_since_s == driver.now_s == 1010.0


# Sequences


def test_heartbeat_that_is_not_fenced_never_moves_the_sequence(driver: Driver) -> None:
    driver.heartbeat("w", incarnation=0, sequence=2**63 - 1)
    assert driver.worker("w").sequence == 0
    assert driver.worker("w").last_heartbeat_s == driver.now_s
    assert len(driver.heartbeat("w", sequence=1)) == 1


def test_heartbeat_far_behind_the_last_one_counted_is_asked_to_register_again(driver: Driver) -> None:
    driver.heartbeat("w", sequence=100)
    assert driver.heartbeat("w", sequence=100 - FAR_BEHIND) == ()
    with pytest.raises(FencedError, match=r"heartbeat 89 of worker 'w' is far behind 100.*register again"):
        driver.heartbeat("w", sequence=100 - FAR_BEHIND - 1)
    assert driver.heartbeat("w", incarnation=0, sequence=1) == ()
    driver.register("w")
    assert len(driver.heartbeat("w", sequence=1)) == 1


# Stalls and restarts


def test_postponing_moves_what_is_due_and_not_what_is_set_later(driver: Driver) -> None:
    driver.give("v", instance="B")
    driver.fall_silent()
    driver.give("u", instance="C")
    driver.do(Remove("v"))
    driver.now_s += 40.0
    driver.registry.postpone(30.0)
    driver.give("t", instance="D")
    driver.now_s = 1000.0 + TIMEOUT_S + TIMEOUT_S + 29.9
    assert driver.sweep() == ()
    driver.now_s += 0.2
    (expired,) = driver.sweep()
    assert expired.worker_id == "u"
    assert expired.at_s == pytest.approx(1000.0 + TIMEOUT_S + TIMEOUT_S + 30.0)
    driver.fall_silent()
    expired = driver.events[-1]
    assert expired.worker_id == "t"
    assert expired.at_s == pytest.approx(1160.0 + TIMEOUT_S)
    for worker_id in ("w", "v"):  # forgotten and no longer remembered: both retentions moved
        driver.now_s = 1000.0 + TIMEOUT_S + RETENTION_S + 29.9
        driver.sweep()
        assert driver.registry.known(worker_id) is not None
    driver.now_s += 0.2
    driver.sweep()
    assert driver.registry.known("w") is driver.registry.known("v") is None


def test_worker_restored_is_heard_once_and_has_a_lease_of_full_length_then() -> None:
    driver = Driver()
    driver.registry = Registry(POLICY, run=7)
    driver.registry.apply(replace(known("w", Health.HEALTHY, -400.0), lease_until_s=1003.0))
    driver.now_s = 1002.0
    heard, renewed = driver.heartbeat("w", incarnation=3, sequence=5)
    assert (heard, type(renewed)) == (WorkerHeard(W, 1002.0), LeaseRenewed)
    assert driver.worker("w").heard_run == 7
    assert driver.registry.next_deadline_s() == 1002.0 + TIMEOUT_S
    assert len(driver.heartbeat("w", incarnation=3, sequence=6)) == 1


def test_worker_restored_that_is_not_heard_expires_at_the_end_of_its_grace() -> None:
    driver = Driver()
    for worker_id, until_s in (("w", 1003.0), ("v", 1250.0)):
        driver.registry.apply(replace(known(worker_id, Health.HEALTHY, -400.0), lease_until_s=until_s))
    driver.now_s = 1002.9
    assert driver.sweep() == ()
    driver.now_s = 1003.0
    assert driver.sweep() == (LeaseExpired(W, 1003.0, "no heartbeat since the control plane started"),)
    assert driver.worker("w").status is Status.UNHEALTHY
    assert driver.registry.next_deadline_s() == 1250.0


def test_leases_and_graces_that_end_before_one_sweep_are_retained_each_from_its_end(driver: Driver) -> None:
    driver.registry.apply(replace(known("v", Health.HEALTHY, -400.0), lease_until_s=1003.0))
    driver.now_s = 1000.0 + TIMEOUT_S
    assert [event.at_s for event in driver.sweep()] == [1003.0, 1000.0 + TIMEOUT_S]
    assert driver.registry.next_deadline_s() == 1003.0 + RETENTION_S


def test_worker_registered_or_recovered_in_this_run_counts_as_heard() -> None:
    driver = Driver()
    driver.registry = Registry(POLICY, run=7)
    driver.registry.apply(known("v", Health.UNHEALTHY, 990.0))
    driver.register("w")
    assert driver.worker("w").heard_run == 7
    driver.heartbeat("v", incarnation=3, sequence=1)
    assert driver.worker("v").heard_run == 7
    assert len(driver.heartbeat("v", incarnation=3, sequence=2)) == 1
