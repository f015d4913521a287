"""Departed workers are remembered for the retention, and as long as they are cordoned (DESIGN 13, 59)."""

from __future__ import annotations

import pytest

from minicloud.core.commands import Cordon, Deregister, Drain, Register, Remove, Uncordon
from minicloud.core.errors import InvalidError, LimitError, UnknownWorkerError
from minicloud.core.events import AdminChanged, DepartureExpired, RegistrationOutcome, WorkerLoaded
from minicloud.core.model import Admin, Departed, Departure, Status, Worker, WorkerId
from minicloud.core.registry import Registry
from tests.unit.core.driver import POLICY, RETENTION_S, Driver

W = WorkerId("w")


@pytest.fixture
def driver() -> Driver:
    """Return a driver with one worker `w`, just registered."""
    driver = Driver()
    driver.register("w", instance="A")
    return driver


def departed(driver: Driver, worker_id: str = "w") -> Worker:
    worker = driver.registry.departures.get(WorkerId(worker_id))
    assert worker is not None
    assert driver.registry.get(worker_id) is None
    return worker


@pytest.mark.parametrize(
    ("leave", "departure", "reason"),
    [
        (Deregister("w", "SIGTERM"), Departure.LEFT, "SIGTERM"),
        (Remove("w"), Departure.REMOVED, "removed by an operator"),
        (Remove("w", "sold"), Departure.REMOVED, "sold"),
    ],
)
def test_worker_that_departed_is_offline_for_the_retention(
    driver: Driver, leave: Deregister | Remove, departure: Departure, reason: str
) -> None:
    driver.now_s += 7.0
    left_s = driver.now_s
    driver.do(leave)
    worker = departed(driver)
    assert worker.departed == Departed(departure, reason, left_s)
    assert (worker.status, worker.status_reason, worker.status_since_s) == (Status.OFFLINE, reason, left_s)
    assert not worker.schedulable
    assert driver.registry.next_deadline_s() == left_s + RETENTION_S
    driver.now_s = left_s + RETENTION_S - 0.001
    driver.sweep()
    departed(driver)
    driver.now_s = left_s + RETENTION_S
    assert driver.sweep() == (DepartureExpired(W, driver.now_s),)
    assert driver.registry.known("w") is None
    assert driver.give("", instance="A", generated="g")[:2] == ("g", RegistrationOutcome.NEW)


@pytest.mark.parametrize("wanted", ["", "w"])
def test_installation_that_departed_gets_its_id_back(driver: Driver, wanted: str) -> None:
    driver.do(Deregister("w"))
    assert driver.give(wanted, instance="A", endpoint="h:2") == ("w", RegistrationOutcome.RETURNED, 2)
    assert driver.worker("w").departed is None
    assert len(driver.registry.departures) == 0
    assert driver.worker("w").wanted_id == "w"


def test_installation_with_a_generated_id_gets_it_back(driver: Driver) -> None:
    driver.give("", instance="B", generated="worker-12ab")
    driver.do(Deregister("worker-12ab"))
    assert driver.give("", instance="B", generated="worker-34cd")[:2] == (
        "worker-12ab",
        RegistrationOutcome.RETURNED,
    )
    assert driver.worker("worker-12ab").wanted_id == ""


def test_installation_that_departed_from_a_variant_gets_the_variant_back(driver: Driver) -> None:
    driver.give("w", instance="B")
    driver.do(Deregister("w-1"))
    assert driver.give("w", instance="C")[0] == "w-2"  # the variant is remembered for B
    assert driver.give("w", instance="B")[:2] == ("w-1", RegistrationOutcome.RETURNED)


def test_client_without_instance_that_departed_is_known_by_its_wanted_id_and_endpoint(driver: Driver) -> None:
    driver.give("w", endpoint="h:7")
    driver.do(Deregister("w-1"))
    assert driver.give("w", endpoint="h:7")[:2] == ("w-1", RegistrationOutcome.RETURNED)


def test_another_installation_that_asks_for_the_id_of_a_departed_one_gets_it(driver: Driver) -> None:
    driver.do(Deregister("w"))
    assert driver.give("w", instance="B")[:2] == ("w", RegistrationOutcome.NEW)
    assert driver.give("w", instance="A")[:2] == ("w-1", RegistrationOutcome.RENAMED)
    assert driver.give("", instance="A")[:2] == ("w-1", RegistrationOutcome.AGAIN)


@pytest.mark.parametrize("say", [Cordon, Drain])
@pytest.mark.parametrize("leave", [Deregister, Remove, None])
@pytest.mark.parametrize("comes_back", ["A", "B"])
def test_cordon_and_drain_outlive_a_departure_for_any_time(
    driver: Driver, say: type[Cordon | Drain], leave: type[Deregister | Remove] | None, comes_back: str
) -> None:
    driver.do(say("w", "its disk"))
    said_s = driver.now_s
    if leave is None:  # it is forgotten
        driver.fall_silent()
        driver.now_s += RETENTION_S
        driver.sweep()
        assert departed(driver).departed == Departed(
            Departure.FORGOTTEN, f"UNHEALTHY for {RETENTION_S:g} s", driver.now_s
        )
    else:
        driver.do(leave("w"))
    assert departed(driver).admin is Admin.CORDONED
    driver.now_s += 10 * RETENTION_S
    driver.sweep()
    assert departed(driver).admin_reason == "its disk"
    driver.give("w", instance=comes_back)
    worker = driver.worker("w")
    assert (worker.admin, worker.admin_reason, worker.admin_since_s) == (Admin.CORDONED, "its disk", said_s)
    assert worker.status is Status.DRAINING
    assert not worker.schedulable


def test_cordon_of_a_worker_with_a_generated_id_finds_it_after_the_retention(driver: Driver) -> None:
    driver.give("", instance="B", generated="g")
    driver.do(Cordon("g"))
    driver.do(Deregister("g"))
    driver.now_s += 3 * RETENTION_S
    assert driver.give("", instance="B", generated="h")[0] == "g"
    assert driver.worker("g").admin is Admin.CORDONED


def test_offline_worker_is_uncordoned_and_remembered_for_the_retention_from_then_on(driver: Driver) -> None:
    driver.do(Cordon("w"))
    driver.do(Deregister("w"))
    driver.now_s += 5 * RETENTION_S
    (event,) = driver.do(Uncordon("w", "mended"))
    assert event == AdminChanged(W, driver.now_s, Admin.ACTIVE, "mended")
    assert departed(driver).admin is Admin.ACTIVE
    assert driver.registry.next_deadline_s() == driver.now_s + RETENTION_S
    driver.give("w", instance="A")
    assert driver.worker("w").schedulable


def test_offline_worker_can_be_cordoned_before_it_comes_back(driver: Driver) -> None:
    driver.do(Deregister("w"))
    driver.do(Cordon("w"))
    assert driver.do(Cordon("w")) == ()
    driver.now_s += 2 * RETENTION_S
    driver.give("w", instance="A")
    assert not driver.worker("w").schedulable


def test_offline_worker_has_nothing_to_drain(driver: Driver) -> None:
    driver.do(Deregister("w"))
    with pytest.raises(InvalidError, match="'w' is OFFLINE and has nothing to drain: cordon it instead"):
        driver.do(Drain("w"))
    assert departed(driver).admin is Admin.ACTIVE


def test_offline_worker_sends_nothing_and_is_removed_by_nobody(driver: Driver) -> None:
    driver.do(Cordon("w"))
    driver.do(Deregister("w"))
    with pytest.raises(UnknownWorkerError):
        driver.heartbeat("w")
    with pytest.raises(UnknownWorkerError):
        driver.do(Remove("w"))
    assert departed(driver).admin is Admin.CORDONED


def test_drain_that_has_ended_is_a_cordon_in_our_words_unless_the_operator_gave_some(driver: Driver) -> None:
    driver.do(Drain("w"))
    driver.do(Deregister("w"))
    worker = departed(driver)
    assert (worker.admin, worker.admin_reason) == (Admin.CORDONED, "drained for an operator")


def test_departed_workers_beyond_the_limit_are_forgotten_oldest_first_and_held_ones_never() -> None:
    registry = Registry(POLICY, max_departed=2)
    driver = Driver()
    driver.registry = registry
    for name in "abcde":
        driver.give(name, instance=name)
    driver.do(Cordon("a"))
    for name in "abc":
        driver.do(Deregister(name))
    assert [worker.worker_id for worker in registry.departures.workers()] == ["a", "b", "c"]
    _, evicted = driver.do(Deregister("d"))
    assert evicted == DepartureExpired(WorkerId("b"), driver.now_s)
    assert [worker.worker_id for worker in registry.departures.workers()] == ["a", "c", "d"]
    _, evicted = driver.do(Uncordon("a"))
    assert evicted == DepartureExpired(WorkerId("c"), driver.now_s)
    assert [worker.worker_id for worker in registry.departures.workers("a")] == ["d"]
    assert registry.known("c") is None


def test_departed_workers_are_listed_in_the_order_of_ids(driver: Driver) -> None:
    for name in ("z", "a", "m"):
        driver.give(name, instance=name)
        driver.do(Deregister(name))
    departures = driver.registry.departures
    assert [worker.worker_id for worker in departures.workers()] == ["a", "m", "z"]
    assert [worker.worker_id for worker in departures.workers("a")] == ["m", "z"]
    assert len(departures) == 3
    assert W not in departures


def test_departed_worker_restored_keeps_its_retention_and_its_cordon(driver: Driver) -> None:
    driver.give("v", instance="B")
    driver.do(Cordon("w"))
    for name in ("v", "w"):
        driver.do(Deregister(name))
    left_s = driver.now_s
    again = Driver()
    for name in ("v", "w"):
        worker = departed(driver, name)
        again.registry.apply(WorkerLoaded(worker.worker_id, left_s + 50.0, worker, left_s + 170.0))
    assert again.registry.next_deadline_s() == left_s + RETENTION_S
    again.now_s = left_s + RETENTION_S
    again.sweep()
    assert again.registry.known("v") is None
    again.give("w", instance="A")
    assert again.worker("w").admin is Admin.CORDONED


def test_cordons_of_departed_workers_have_a_limit(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minicloud.core.registry.MAX_HELD", 1)
    driver.do(Cordon("w"))
    driver.do(Deregister("w"))
    driver.give("v", instance="B")
    with pytest.raises(LimitError, match="1 departed workers are cordoned, which is the limit"):
        driver.do(Cordon("v"))
    driver.do(Uncordon("w"))
    driver.do(Cordon("v"))


def test_worker_beyond_the_limit_is_refused_and_those_that_are_registered_are_not() -> None:
    driver = Driver()
    driver.registry = Registry(POLICY, max_workers=2)
    driver.give("a", instance="A", endpoint="h:1")
    driver.give("b", instance="B", endpoint="h:2")
    with pytest.raises(LimitError, match="2 workers are registered, which is the limit: raise --max-workers"):
        driver.do(Register("h:3", WorkerId("g"), "c", "C"))
    assert driver.give("a", instance="A", endpoint="h:1")[:2] == ("a", RegistrationOutcome.AGAIN)
    assert driver.give("c", instance="A", endpoint="h:1")[:2] == (
        "c",
        RegistrationOutcome.NEW,
    )  # it makes room
    driver.do(Deregister("b"))
    assert driver.give("b", instance="B", endpoint="h:2")[:2] == ("b", RegistrationOutcome.RETURNED)
