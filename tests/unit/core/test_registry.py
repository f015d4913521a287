"""Commands and time have the right effect on one worker."""

from __future__ import annotations

import math

import pytest

from minicloud.core.commands import (
    Command,
    Cordon,
    Deregister,
    Drain,
    Heartbeat,
    Remove,
    Uncordon,
)
from minicloud.core.errors import FencedError, UnknownWorkerError
from minicloud.core.events import (
    AdminChanged,
    LeaseExpired,
    LeaseRenewed,
    WorkerDeparted,
    WorkerRecovered,
)
from minicloud.core.model import Admin, Departure, Resources, Status, WorkerId
from tests.unit.core.driver import RETENTION_S, TIMEOUT_S, Driver

W = WorkerId("w")


@pytest.fixture
def driver() -> Driver:
    """Return a driver with one worker `w`, in incarnation 1, just registered."""
    driver = Driver()
    driver.register("w", resources=Resources(cpu_cores=8))
    return driver


# Leases


def test_lease_just_before_its_deadline_holds(driver: Driver) -> None:
    driver.now_s = math.nextafter(1000.0 + TIMEOUT_S, 0.0)
    assert driver.sweep() == ()
    assert driver.worker("w").status is Status.HEALTHY


def test_lease_at_its_deadline_no_longer_holds(driver: Driver) -> None:
    assert driver.registry.next_deadline_s() == 1000.0 + TIMEOUT_S
    driver.now_s = 1000.0 + TIMEOUT_S
    assert driver.sweep() == (LeaseExpired(W, driver.now_s, "no heartbeat for 120 s"),)
    worker = driver.worker("w")
    assert worker.status is Status.UNHEALTHY
    assert (worker.status_reason, worker.status_since_s) == ("no heartbeat for 120 s", driver.now_s)


def test_lease_swept_late_ended_at_its_deadline(driver: Driver) -> None:
    driver.now_s = 5000.0
    assert driver.sweep() == (LeaseExpired(W, 1000.0 + TIMEOUT_S, "no heartbeat for 120 s"),)
    assert driver.worker("w").health_since_s == 1000.0 + TIMEOUT_S


def test_lease_renewed_lasts_in_full_from_then_on(driver: Driver) -> None:
    driver.now_s += TIMEOUT_S - 1.0
    driver.heartbeat("w")
    assert driver.registry.next_deadline_s() == driver.now_s + TIMEOUT_S


def test_lease_of_a_worker_registered_again_lasts_in_full(driver: Driver) -> None:
    driver.now_s += 60.0
    driver.register("w")
    assert driver.registry.next_deadline_s() == driver.now_s + TIMEOUT_S


def test_leases_expire_in_the_order_of_their_deadlines() -> None:
    driver = Driver()
    for worker_id in ("c", "a", "b"):
        driver.register(worker_id, instance=worker_id)
        driver.now_s += 1.0
    driver.heartbeat("c")
    driver.now_s += TIMEOUT_S
    assert [(event.worker_id, event.at_s) for event in driver.sweep()] == [
        ("a", 1001.0 + TIMEOUT_S),
        ("b", 1002.0 + TIMEOUT_S),
        ("c", 1003.0 + TIMEOUT_S),
    ]
    assert driver.sweep() == ()


def test_worker_unhealthy_for_the_retention_is_forgotten_and_not_a_moment_before(driver: Driver) -> None:
    driver.fall_silent()
    forgotten_s = driver.now_s + RETENTION_S
    assert driver.registry.next_deadline_s() == forgotten_s
    driver.now_s = math.nextafter(forgotten_s, 0.0)
    assert driver.sweep() == ()
    driver.now_s = forgotten_s
    (event,) = driver.sweep()
    assert event == WorkerDeparted(W, forgotten_s, Departure.FORGOTTEN, "UNHEALTHY for 86400 s")
    assert driver.ids() == []
    assert driver.registry.next_deadline_s() == math.inf
    assert driver.registry.incarnation_floor == 1


def test_worker_that_spoke_again_is_not_forgotten(driver: Driver) -> None:
    driver.fall_silent()
    driver.now_s += RETENTION_S - 1.0
    driver.heartbeat("w")
    assert driver.registry.next_deadline_s() == driver.now_s + TIMEOUT_S
    driver.now_s += 2.0
    assert driver.sweep() == ()


def test_worker_taken_over_is_not_forgotten(driver: Driver) -> None:
    driver.fall_silent()
    driver.register("w", endpoint="10.0.0.8:1")
    assert driver.registry.next_deadline_s() == driver.now_s + TIMEOUT_S


# Heartbeats


def test_heartbeat_renews_and_brings_resources(driver: Driver) -> None:
    driver.now_s += 30.0
    assert driver.do(Heartbeat("w", Resources(cpu_cores=4), 1, 7)) == (
        LeaseRenewed(W, driver.now_s, 7, Resources(cpu_cores=4)),
    )
    worker = driver.worker("w")
    assert (worker.last_heartbeat_s, worker.sequence) == (driver.now_s, 7)
    assert worker.resources == Resources(cpu_cores=4)


def test_heartbeat_without_resources_leaves_the_last_ones(driver: Driver) -> None:
    driver.heartbeat("w")
    assert driver.worker("w").resources == Resources(cpu_cores=8)


@pytest.mark.parametrize("late", [7, 6, 1, -1])
def test_heartbeat_late_or_twice_changes_nothing(driver: Driver, late: int) -> None:
    driver.heartbeat("w", sequence=7)
    driver.now_s += 60.0
    assert driver.do(Heartbeat("w", Resources(cpu_cores=1), 1, late)) == ()
    worker = driver.worker("w")
    assert (worker.last_heartbeat_s, worker.sequence) == (1000.0, 7)
    assert worker.resources == Resources(cpu_cores=8)
    assert driver.registry.next_deadline_s() == 1000.0 + TIMEOUT_S


def test_heartbeat_late_does_not_make_a_silent_worker_healthy(driver: Driver) -> None:
    driver.heartbeat("w", sequence=7)
    driver.fall_silent()
    assert driver.heartbeat("w", sequence=7) == ()
    assert driver.worker("w").status is Status.UNHEALTHY


def test_heartbeat_without_sequence_is_never_late_and_leaves_the_last_one(driver: Driver) -> None:
    driver.heartbeat("w", sequence=7)
    assert len(driver.heartbeat("w")) == 1
    assert driver.worker("w").sequence == 7


def test_heartbeat_sequence_starts_over_with_each_incarnation(driver: Driver) -> None:
    driver.heartbeat("w", sequence=7)
    driver.register("w")
    assert driver.worker("w").sequence == 0
    assert len(driver.heartbeat("w", incarnation=2, sequence=1)) == 1


@pytest.mark.parametrize("incarnation", [1, 3, -1, 2**63 - 1])
def test_heartbeat_of_another_incarnation_is_fenced(driver: Driver, incarnation: int) -> None:
    driver.register("w")
    with pytest.raises(
        FencedError, match=rf"incarnation 2, this message is of {incarnation}: register again"
    ):
        driver.heartbeat("w", incarnation=incarnation)
    assert driver.worker("w").last_heartbeat_s == 1000.0


@pytest.mark.parametrize("incarnation", [0, 2])
def test_heartbeat_of_this_or_no_incarnation_is_taken(driver: Driver, incarnation: int) -> None:
    driver.register("w")
    assert len(driver.heartbeat("w", incarnation=incarnation)) == 1


def test_heartbeat_of_the_one_taken_over_from_is_fenced(driver: Driver) -> None:
    driver.fall_silent()
    driver.register("w", endpoint="10.0.0.8:1")
    with pytest.raises(FencedError):
        driver.heartbeat("w", incarnation=1)


def test_heartbeat_of_a_departed_worker_is_fenced_from_its_successor(driver: Driver) -> None:
    driver.do(Remove("w"))
    with pytest.raises(UnknownWorkerError, match="no worker 'w' is registered"):
        driver.heartbeat("w", incarnation=1)
    driver.register("w")
    with pytest.raises(FencedError):
        driver.heartbeat("w", incarnation=1)


def test_heartbeat_of_an_absurd_id_is_unknown_in_a_short_line(driver: Driver) -> None:
    with pytest.raises(UnknownWorkerError) as caught:
        driver.heartbeat("x\n" * 100_000)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_heartbeat_after_silence_restores_the_lease(driver: Driver) -> None:
    driver.now_s += 300.0
    restored, renewed = driver.heartbeat("w", sequence=1)
    assert restored == WorkerRecovered(W, driver.now_s, "heartbeat after 300 s of silence")
    assert renewed == LeaseRenewed(W, driver.now_s, 1, None)
    worker = driver.worker("w")
    assert worker.status is Status.HEALTHY
    assert worker.status_reason == "heartbeat after 300 s of silence"
    assert (worker.status_since_s, worker.last_heartbeat_s) == (driver.now_s, driver.now_s)
    assert worker.incarnation == 1
    assert driver.registry.next_deadline_s() == driver.now_s + TIMEOUT_S


def test_metadata_changed_by_its_sender_later_stays_as_it_was_registered() -> None:
    driver = Driver()
    metadata = {"zone": "eu"}
    driver.register("w", metadata=metadata)
    metadata["zone"] = "us"
    assert driver.worker("w").zone == "eu"


# Operators


@pytest.mark.parametrize(
    ("command", "admin", "reason"),
    [
        (Cordon("w"), Admin.CORDONED, "cordoned by an operator"),
        (Drain("w"), Admin.DRAINING, "draining for an operator"),
    ],
)
def test_operator_command_given_twice_changes_the_worker_once(
    driver: Driver, command: Command, admin: Admin, reason: str
) -> None:
    driver.now_s += 5.0
    assert driver.do(command) == (AdminChanged(W, 1005.0, admin, reason),)
    driver.now_s += 5.0
    assert driver.do(command) == ()
    worker = driver.worker("w")
    assert (worker.admin, worker.admin_reason, worker.admin_since_s) == (admin, reason, 1005.0)
    assert worker.status is Status.DRAINING
    assert list(driver.registry.schedulable_workers()) == []
    assert driver.do(Uncordon("w")) == (AdminChanged(W, 1010.0, Admin.ACTIVE, "uncordoned by an operator"),)
    assert driver.do(Uncordon("w")) == ()
    assert list(driver.registry.schedulable_workers()) == [driver.worker("w")]


@pytest.mark.parametrize(("operate", "admin"), [(Cordon, Admin.CORDONED), (Drain, Admin.DRAINING)])
def test_operator_command_with_a_reason_records_it_and_a_new_one_of_the_same_state(
    driver: Driver, operate: type[Cordon | Drain], admin: Admin
) -> None:
    driver.now_s += 5.0
    assert driver.do(operate("w", "its disk")) == (AdminChanged(W, 1005.0, admin, "its disk"),)
    driver.now_s += 5.0
    assert driver.do(operate("w")) == driver.do(operate("w", "its disk")) == ()
    assert driver.do(operate("w", "its fan")) == (AdminChanged(W, 1010.0, admin, "its fan"),)
    worker = driver.worker("w")
    assert (worker.admin, worker.status_reason, worker.admin_since_s) == (admin, "its fan", 1005.0)
    assert driver.do(Uncordon("w", "mended")) == (AdminChanged(W, 1010.0, Admin.ACTIVE, "mended"),)
    assert (worker.admin_reason, worker.admin_since_s) == ("mended", 1010.0)
    assert driver.do(Uncordon("w", "mended twice")) == ()


def test_cordon_of_a_draining_worker_leaves_it_draining(driver: Driver) -> None:
    driver.do(Drain("w"))
    assert driver.do(Cordon("w")) == driver.do(Cordon("w", "its disk")) == ()
    assert driver.worker("w").admin is Admin.DRAINING


def test_drain_of_a_cordoned_worker_drains_it(driver: Driver) -> None:
    driver.do(Cordon("w"))
    assert len(driver.do(Drain("w"))) == 1
    assert driver.worker("w").admin is Admin.DRAINING


def test_operator_command_neither_renews_nor_ends_a_lease(driver: Driver) -> None:
    driver.now_s += 60.0
    for command in (Cordon("w"), Drain("w"), Uncordon("w")):
        driver.do(command)
        assert driver.registry.next_deadline_s() == 1000.0 + TIMEOUT_S


def test_drain_outlives_silence_and_recovery(driver: Driver) -> None:
    driver.do(Drain("w"))
    driver.fall_silent()
    assert driver.worker("w").status is Status.UNHEALTHY
    driver.heartbeat("w")
    assert driver.worker("w").status is Status.DRAINING


@pytest.mark.parametrize("command", [Cordon("x"), Uncordon("x"), Drain("x"), Remove("x"), Deregister("x")])
def test_command_for_an_unknown_worker_is_refused(driver: Driver, command: Command) -> None:
    with pytest.raises(UnknownWorkerError, match="no worker 'x' is registered"):
        driver.do(command)


# Leaving


@pytest.mark.parametrize(
    ("first", "command", "departure", "reason"),
    [
        (None, Deregister("w"), Departure.LEFT, "left"),
        (None, Deregister("w", "SIGTERM", 1), Departure.LEFT, "SIGTERM"),
        (Cordon("w"), Deregister("w", "SIGTERM"), Departure.LEFT, "SIGTERM"),
        (Drain("w"), Deregister("w"), Departure.DRAINED, "drained"),
        (Drain("w"), Deregister("w", "all done"), Departure.DRAINED, "all done"),
        (None, Deregister("w", "x" * 1000), Departure.LEFT, "x" * 256),
        (None, Remove("w"), Departure.REMOVED, "removed by an operator"),
        (Drain("w"), Remove("w"), Departure.REMOVED, "removed by an operator"),
    ],
)
def test_departure_says_which_kind_it_was(
    driver: Driver, first: Command | None, command: Command, departure: Departure, reason: str
) -> None:
    if first is not None:
        driver.do(first)
    assert driver.do(command) == (WorkerDeparted(W, driver.now_s, departure, reason),)
    assert driver.registry.get("w") is None
    assert len(driver.registry) == 0
    assert not driver.registry.has_leases
    with pytest.raises(UnknownWorkerError):
        driver.do(command)


def test_departure_of_a_silent_worker_is_no_reason_to_forget_it_sooner(driver: Driver) -> None:
    driver.fall_silent()
    driver.now_s += 10.0
    driver.do(Deregister("w"))
    assert driver.registry.next_deadline_s() == driver.now_s + RETENTION_S


def test_deregistration_of_an_older_incarnation_is_fenced(driver: Driver) -> None:
    driver.register("w")
    with pytest.raises(FencedError):
        driver.do(Deregister("w", "SIGTERM", 1))
    assert driver.ids() == ["w"]


# Reading


def test_workers_come_in_the_order_of_ids_and_from_behind_any_id() -> None:
    driver = Driver()
    ids = ["b", "a-10", "B", "a-9", "a", "_", "0"]
    for worker_id in ids:
        driver.register(worker_id, instance=worker_id)
    assert driver.ids() == sorted(ids)
    for after in ["", "0", "a", "a-10", "aa", "b", "zzz"]:
        assert [worker.worker_id for worker in driver.registry.workers(after)] == [
            worker_id for worker_id in sorted(ids) if worker_id > after
        ]


def test_decision_changes_nothing_until_it_is_applied(driver: Driver) -> None:
    registry = driver.registry
    for command in (Heartbeat("w"), Drain("w"), Remove("w"), Deregister("w")):
        first = registry.decide(command, 1010.0)
        assert registry.decide(command, 1010.0) == first
    worker = driver.worker("w")
    assert (worker.last_heartbeat_s, worker.admin, len(registry)) == (1000.0, Admin.ACTIVE, 1)
