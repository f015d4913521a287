"""Each rule of id assignment has a test: which id does a registration get (DESIGN 12)?"""

from __future__ import annotations

import pytest

from minicloud.core.commands import Cordon, Drain, Remove
from minicloud.core.errors import DisplacedError, FencedError
from minicloud.core.events import RegistrationOutcome, RivalHeard, WorkerLoaded
from minicloud.core.ids import IdBook
from minicloud.core.model import Admin, Departed, Departure, Worker, WorkerId
from tests.unit.core.driver import RETENTION_S, TIMEOUT_S, Driver

NEW, AGAIN, RETURNED, TAKEOVER, RENAMED, CLONE = (
    RegistrationOutcome.NEW,
    RegistrationOutcome.AGAIN,
    RegistrationOutcome.RETURNED,
    RegistrationOutcome.TAKEOVER,
    RegistrationOutcome.RENAMED,
    RegistrationOutcome.CLONE,
)
LONGEST = "x" * 128


def test_wanted_id_that_is_free_is_given() -> None:
    assert Driver().give("w", instance="A") == ("w", NEW, 1)


def test_no_wanted_id_gets_the_generated_one() -> None:
    driver = Driver()
    assert driver.give("", generated="worker-1a2b3c4d") == ("worker-1a2b3c4d", NEW, 1)
    assert driver.worker("worker-1a2b3c4d").wanted_id == ""


def test_generated_id_that_is_taken_is_given_with_a_suffix() -> None:
    driver = Driver()
    driver.give("", instance="A", generated="g")
    assert driver.give("", instance="B", generated="g") == ("g-1", RENAMED, 1)
    assert driver.give("", instance="C", generated="g") == ("g-2", RENAMED, 1)


def test_same_instance_from_elsewhere_gets_its_id_again() -> None:
    driver = Driver()
    driver.give("w", instance="A", endpoint="10.0.0.7:1")
    assert driver.give("w", instance="A", endpoint="10.0.0.8:2") == ("w", AGAIN, 2)
    assert driver.worker("w").endpoint == "10.0.0.8:2"


def test_same_instance_that_wants_none_gets_its_id_again() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    assert driver.give("", instance="A") == ("w", AGAIN, 2)


def test_same_instance_gone_silent_gets_its_id_again() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.fall_silent()
    assert driver.give("w", instance="A") == ("w", AGAIN, 2)


def test_same_endpoint_without_instances_gets_its_id_again() -> None:
    driver = Driver()
    driver.give("w")
    assert driver.give("w") == ("w", AGAIN, 2)


def test_other_endpoint_without_instances_is_another_installation() -> None:
    driver = Driver()
    driver.give("w", endpoint="10.0.0.7:9091")
    assert driver.give("w", endpoint="10.0.0.8:9091") == ("w-1", RENAMED, 1)


def test_other_instance_that_wants_the_same_id_at_the_same_endpoint_replaces() -> None:
    driver = Driver()  # a worker that keeps nothing is another installation at each start
    driver.give("w", instance="A", endpoint="127.0.0.1:9091")
    assert driver.give("w", instance="B", endpoint="127.0.0.1:9091") == ("w", AGAIN, 2)
    assert driver.give("w", instance="C", endpoint="127.0.0.1:9091") == ("w", AGAIN, 3)
    assert driver.ids() == ["w"]


def test_other_instance_at_the_endpoint_of_a_variant_replaces_the_variant() -> None:
    driver = Driver()
    driver.give("w", instance="holder")
    assert driver.give("w", instance="A", endpoint="127.0.0.1:9091") == ("w-1", RENAMED, 1)
    assert driver.give("w", instance="B", endpoint="127.0.0.1:9091") == ("w-1", AGAIN, 2)
    assert driver.ids() == ["w", "w-1"]


def test_other_instance_that_wants_the_id_of_the_variant_at_its_endpoint_replaces_it() -> None:
    driver = Driver()
    driver.give("w", instance="holder")
    driver.give("w", instance="A", endpoint="127.0.0.1:9091")
    assert driver.give("w-1", instance="B", endpoint="127.0.0.1:9091") == ("w-1", AGAIN, 2)


def test_installation_that_asks_for_another_id_at_the_same_endpoint_leaves_the_first() -> None:
    driver = Driver()
    driver.give("w", instance="A", endpoint="10.0.0.7:1")
    driver.do(Cordon("w", "its disk"))
    event = driver.register("v", instance="A", endpoint="10.0.0.7:1")
    assert (event.worker_id, event.registration) == ("v", NEW)
    assert driver.ids() == ["v"]
    # an operator took the machine out of service, whatever its id
    assert driver.worker("v").admin is Admin.CORDONED
    assert driver.worker("v").admin_reason == "its disk"
    departed = driver.registry.departures.get(WorkerId("w"))
    assert departed is not None
    assert departed.departed == Departed(Departure.REPLACED, "registered again as v", driver.now_s)


def test_installation_that_asks_for_another_id_at_another_endpoint_is_two_workers() -> None:
    driver = Driver()
    driver.give("w", instance="A", endpoint="10.0.0.7:1")
    assert driver.give("v", instance="A", endpoint="10.0.0.7:2") == ("v", NEW, 1)
    assert driver.ids() == ["v", "w"]


# Two live processes with one identity


def displaced(driver: Driver, incarnation: int) -> None:
    """Send a heartbeat of the worker from which the id `w` was taken."""
    with pytest.raises(DisplacedError) as refused:
        driver.heartbeat("w", incarnation=incarnation, sequence=2)
    driver.registry.apply(RivalHeard(WorkerId(refused.value.worker_id), driver.now_s))


def test_cloned_installation_that_proves_to_be_alive_gets_a_variant_and_both_stay() -> None:
    driver = Driver()
    for number, endpoint in enumerate(("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1")):
        given = driver.give("w", instance="X", endpoint=endpoint)
        assert given[:2] == ("w", AGAIN if number else NEW)
    displaced(driver, 2)
    assert driver.give("w", instance="X", endpoint="10.0.0.2:1") == ("w-1", CLONE, 1)
    assert driver.worker("w").endpoint == "10.0.0.3:1"
    assert driver.give("w", instance="X", endpoint="10.0.0.2:1") == ("w-1", AGAIN, 2)
    assert driver.give("w", instance="X", endpoint="10.0.0.3:1") == ("w", AGAIN, 4)
    assert driver.give("w-1", instance="X", endpoint="10.0.0.9:1") == ("w-1", AGAIN, 3)


def test_displaced_worker_without_a_heartbeat_since_takes_its_id_back() -> None:
    driver = Driver()  # its address changes to and fro
    driver.give("w", instance="X", endpoint="10.0.0.1:1")
    driver.give("w", instance="X", endpoint="10.0.0.2:1")
    assert driver.give("w", instance="X", endpoint="10.0.0.1:1") == ("w", AGAIN, 3)


def test_displaced_workers_proof_of_life_is_void_after_a_timeout() -> None:
    driver = Driver()
    driver.give("w", instance="X", endpoint="10.0.0.1:1")
    driver.give("w", instance="X", endpoint="10.0.0.2:1")
    displaced(driver, 1)
    driver.now_s += TIMEOUT_S / 2
    driver.heartbeat("w")
    driver.now_s += TIMEOUT_S / 2
    assert driver.give("w", instance="X", endpoint="10.0.0.1:1") == ("w", AGAIN, 3)


def test_live_workers_that_name_one_endpoint_and_want_one_id_both_stay() -> None:
    driver = Driver()  # `localhost:9091` on two machines
    driver.give("w", instance="A", endpoint="localhost:9091")
    driver.give("w", instance="B", endpoint="localhost:9091")
    displaced(driver, 1)
    assert driver.give("w", instance="A", endpoint="localhost:9091") == ("w-1", CLONE, 1)
    assert driver.worker("w").instance_id == "B"


def test_heartbeat_of_an_older_incarnation_of_the_same_process_proves_no_rival() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.give("w", instance="A")
    with pytest.raises(FencedError) as refused:
        driver.heartbeat("w", incarnation=1, sequence=2)
    assert not isinstance(refused.value, DisplacedError)


def test_worker_taken_over_from_that_speaks_again_is_renamed_not_called_a_clone() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.fall_silent()
    driver.give("w", instance="B")
    displaced(driver, 1)
    assert driver.give("w", instance="A") == ("w-1", RENAMED, 1)


def test_client_upgraded_at_the_same_endpoint_gets_its_id_again_and_is_known_by_instance_then() -> None:
    driver = Driver()
    driver.give("w", endpoint="10.0.0.7:1")
    assert driver.give("w", instance="A", endpoint="10.0.0.7:1") == ("w", AGAIN, 2)
    assert driver.give("", instance="A", endpoint="10.0.0.9:1") == ("w", AGAIN, 3)


def test_client_downgraded_at_the_same_endpoint_gets_its_id_again() -> None:
    driver = Driver()
    driver.give("w", instance="A", endpoint="10.0.0.7:1")
    assert driver.give("w", endpoint="10.0.0.7:1") == ("w", AGAIN, 2)


def test_two_clients_without_instance_or_wanted_id_at_one_endpoint_are_two_workers() -> None:
    driver = Driver()  # `localhost:9091` on two machines
    assert driver.give("", endpoint="localhost:9091", generated="g1") == ("g1", NEW, 1)
    assert driver.give("", endpoint="localhost:9091", generated="g2") == ("g2", NEW, 1)


def test_wanted_id_of_another_gone_silent_is_taken_over() -> None:
    driver = Driver()
    driver.give("w", instance="A", endpoint="10.0.0.7:1")
    driver.fall_silent()
    assert driver.give("w", instance="B", endpoint="10.0.0.8:1") == ("w", TAKEOVER, 2)
    worker = driver.worker("w")
    assert (worker.instance_id, worker.endpoint) == ("B", "10.0.0.8:1")


def test_installation_taken_over_from_comes_back_as_another() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.fall_silent()
    driver.give("w", instance="B")
    assert driver.give("w", instance="A") == ("w-1", RENAMED, 1)
    assert driver.give("", instance="A") == ("w-1", AGAIN, 2)


def test_wanted_id_of_another_a_moment_before_its_lease_ends_is_not_taken_over() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.now_s += 119.999
    assert driver.give("w", instance="B")[:2] == ("w-1", RENAMED)


def test_wanted_id_of_another_live_gets_the_next_suffix() -> None:
    driver = Driver()
    given = [driver.give("w", instance=instance)[:2] for instance in "ABCD"]
    assert given == [("w", NEW), ("w-1", RENAMED), ("w-2", RENAMED), ("w-3", RENAMED)]


def test_wanted_id_of_another_draining_gets_a_suffix() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.do(Drain("w"))
    assert driver.give("w", instance="B")[0] == "w-1"


def test_renamed_installation_gets_its_variant_back() -> None:
    driver = Driver()
    for instance in "ABC":
        driver.give("w", instance=instance)
    assert driver.give("w", instance="C") == ("w-2", AGAIN, 2)
    assert driver.give("w", instance="B") == ("w-1", AGAIN, 2)
    assert driver.give("w", instance="A") == ("w", AGAIN, 2)


def test_renamed_installation_without_instance_gets_its_variant_back() -> None:
    driver = Driver()
    driver.give("w", endpoint="10.0.0.7:1")
    driver.give("w", endpoint="10.0.0.8:1")
    assert driver.give("w", endpoint="10.0.0.8:1") == ("w-1", AGAIN, 2)


def test_renamed_installation_that_asked_by_its_variant_still_gets_it_back_by_what_it_wants() -> None:
    # A worker that registers again asks for the id it was given; one started anew asks for the configured id.
    driver = Driver()
    for about in ({"instance": "A"}, {"endpoint": "10.0.0.9:1"}):
        driver.give("w", instance="holder")
        variant = driver.give("w", **about)[0]
        assert driver.give(variant, **about)[:2] == (variant, AGAIN)
        assert driver.give("w", **about)[:2] == (variant, AGAIN)
    assert driver.give("", instance="A")[:2] == ("w-1", AGAIN)
    assert driver.give("w", instance="A")[:2] == ("w-1", AGAIN)


def test_renamed_installation_keeps_its_variant_when_the_wanted_id_is_free_again() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.give("w", instance="B")
    driver.do(Remove("w"))
    assert driver.give("w", instance="B")[:2] == ("w-1", AGAIN)


def test_installation_that_asks_for_another_free_id_gets_that() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    assert driver.give("v", instance="A") == ("v", NEW, 2)
    assert driver.give("", instance="A") == ("v", AGAIN, 3)  # the one it was given last
    assert driver.give("w", instance="A") == ("w", RETURNED, 4)  # the other is still its own


def test_variant_that_somebody_asked_for_by_name_is_passed_over() -> None:
    driver = Driver()
    driver.give("w-1", instance="A")
    driver.give("w-3", instance="B")
    given = [driver.give("w", instance=instance)[0] for instance in "CDEF"]
    assert given == ["w", "w-2", "w-4", "w-5"]


def test_variant_gone_silent_is_passed_over_too() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.give("w", instance="B")
    driver.now_s += 60.0
    driver.heartbeat("w")
    driver.now_s += 60.0
    assert driver.give("w", instance="C")[0] == "w-2"


def test_suffix_of_one_who_left_is_not_given_again_while_the_base_is_held() -> None:
    driver = Driver()
    for instance in "ABC":
        driver.give("w", instance=instance)
    driver.do(Remove("w-1"))
    driver.do(Remove("w-2"))
    driver.give("w", instance="A")  # a further registration of its holder changes nothing
    assert driver.give("w", instance="D")[0] == "w-3"


def test_suffix_of_one_who_left_is_not_given_again_after_a_lower_one_registers_again() -> None:
    driver = Driver()
    for instance in "ABCD":
        driver.give("w", instance=instance)
    driver.do(Remove("w-3"))
    driver.give("w", instance="B")
    assert driver.give("w", instance="E")[0] == "w-4"


def test_nothing_is_remembered_of_ids_when_everyone_has_left() -> None:
    driver = Driver()
    for instance in "ABC":
        driver.give("w", instance=instance)
    driver.give("v", endpoint="h:1")
    driver.give("", generated="g")
    driver.do(Remove("w"))
    driver.give("w", instance="B")
    driver.fall_silent()
    driver.give("w-2", instance="D")
    for worker_id in driver.ids():
        driver.do(Remove(worker_id))
    driver.now_s += RETENTION_S
    driver.sweep()
    assert vars(driver.registry._ids) == vars(IdBook(TIMEOUT_S))


def test_suffix_starts_over_when_the_base_has_left() -> None:
    driver = Driver()
    for instance in "ABC":
        driver.give("w", instance=instance)
    for worker_id in ("w", "w-1"):
        driver.do(Remove(worker_id))
    for _ in range(int(RETENTION_S / 100)):
        driver.now_s += 100.0
        driver.heartbeat("w-2")
    assert len(driver.registry.departures) == 0
    # it is there without its base, so it counts for nothing
    assert driver.give("w", instance="C")[0] == "w-2"
    assert driver.give("w", instance="D")[:2] == ("w", NEW)
    assert [driver.give("w", instance=instance)[0] for instance in "EF"] == ["w-1", "w-3"]


def test_generated_id_of_digits_alone_does_not_count_as_a_suffix() -> None:
    driver = Driver()
    driver.give("worker", instance="A")
    driver.give("", instance="B", generated="worker-12345678")
    assert driver.give("worker", instance="C")[0] == "worker-1"


def test_id_of_the_greatest_length_is_shortened_for_its_suffix() -> None:
    driver = Driver()
    given = [driver.give(LONGEST, instance=f"{number}")[0] for number in range(12)]
    assert given[0] == LONGEST
    assert given[1] == "x" * 126 + "-1"
    assert given[11] == "x" * 125 + "-11"
    assert all(len(each) == 128 for each in given)


def test_long_ids_alike_in_front_get_variants_of_their_own() -> None:
    driver = Driver()
    first, second = "x" * 126 + "ab", "x" * 126 + "cd"
    given = [
        driver.give(wanted, instance=f"{wanted[-2:]}{number}")[0]
        for number in range(3)
        for wanted in (first, second)
    ]
    assert len(set(given)) == 6
    assert given[2:] == ["x" * 126 + suffix for suffix in ("-1", "-2", "-3", "-4")]


def test_incarnation_of_a_free_id_starts_above_every_departed_workers() -> None:
    driver = Driver()
    driver.give("a", instance="A")
    for _ in range(4):
        driver.give("a", instance="A")
    assert driver.registry.incarnation_floor == 0
    driver.do(Remove("a"))
    assert driver.registry.incarnation_floor == 5
    assert driver.give("a", instance="B") == ("a", NEW, 6)
    assert driver.give("b", instance="C") == ("b", NEW, 6)
    driver.do(Remove("b"))
    assert driver.registry.incarnation_floor == 6
    driver.give("c", instance="C")
    assert driver.give("a", instance="B") == ("a", AGAIN, 7)
    assert driver.give("a", instance="B") == ("a", AGAIN, 8)
    driver.do(Remove("a"))
    assert driver.give("d", instance="D") == ("d", NEW, 9)
    driver.do(Remove("c"))  # in incarnation 7: it does not lower the floor
    assert driver.registry.incarnation_floor == 8


def test_incarnation_floor_of_a_restart_is_kept() -> None:
    assert Driver(incarnation_floor=41).give("w") == ("w", NEW, 42)


def test_incarnation_of_an_id_that_is_there_rises_above_the_floor_too() -> None:
    # It was restored from a backup, and has had higher incarnations since that was made.
    driver = Driver()
    driver.give("w", instance="A")
    restored = driver.worker("w")
    driver = Driver(incarnation_floor=41)
    driver.registry.apply(WorkerLoaded(restored.worker_id, driver.now_s, restored, driver.now_s + TIMEOUT_S))
    assert driver.worker("w").incarnation == 1
    assert driver.give("w", instance="A") == ("w", AGAIN, 42)
    assert driver.give("w", instance="A") == ("w", AGAIN, 43)
    driver.fall_silent()
    assert driver.give("w", instance="B") == ("w", TAKEOVER, 44)
    assert driver.registry.incarnation_floor == 41


def test_what_an_operator_said_of_an_id_outlives_registration_again_and_takeover() -> None:
    driver = Driver()
    driver.give("w", instance="A")
    driver.now_s += 1.0
    driver.do(Drain("w"))
    said_s = driver.now_s
    driver.now_s += 1.0

    def said(worker: Worker) -> tuple[Admin, str, float]:
        return worker.admin, worker.admin_reason, worker.admin_since_s

    driver.give("w", instance="A")
    assert said(driver.worker("w")) == (Admin.DRAINING, "draining for an operator", said_s)
    driver.fall_silent()
    assert driver.give("w", instance="B")[1] is TAKEOVER
    assert said(driver.worker("w")) == (Admin.DRAINING, "draining for an operator", said_s)
    driver.do(Remove("w"))
    driver.give("w", instance="B")
    # A drain that has ended leaves a cordon behind it.
    assert said(driver.worker("w")) == (Admin.CORDONED, "drained for an operator", said_s)


def test_thousands_that_want_one_id_cost_the_same_each_also_when_its_holder_restarts() -> None:
    driver = Driver()
    lookups = 0

    class Counting(dict[WorkerId, Worker]):
        def __contains__(self, key: object) -> bool:
            nonlocal lookups
            lookups += 1
            return super().__contains__(key)

    driver.registry._workers = Counting()
    for number in range(2000):
        driver.give("worker-1", instance=f"{number}")
        if number % 10 == 0:
            driver.give("worker-1", instance="0")  # the base flaps
    assert len(driver.registry) == 2000
    assert lookups < 3 * 2000
