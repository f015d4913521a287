"""Promise 5: what was acknowledged is there after a crash; and incarnations rise."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

from minicloud.store.port import StoredWorker
from sim.engine.clocks import NodeClock
from sim.faults.schedule import Fault
from sim.oracle.durability import Durability
from sim.verdict.promises import OLD_INCARNATIONS_FENCED, REGISTRATIONS_DURABLE
from tests.sim.oracle.parts import Found


class Case(Found):
    """A durability with its clock."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clock = NodeClock(self.timeline)
        self.durability = Durability(self.ledger, self.clock)

    def register(self, worker_id: str, incarnation: int) -> None:
        """Register, and acknowledge that."""
        self.durability.registered(worker_id, incarnation)
        self.durability.acknowledged(worker_id, incarnation)

    def start(self, **kept: int) -> None:
        """Start a control plane ten seconds later, on a disk with these workers in these incarnations."""
        self.timeline.now_s += 10.0
        self.durability.started(stored(kept.items()))


def stored(kept: object) -> Sequence[StoredWorker]:
    return cast(
        "Sequence[StoredWorker]",
        [
            SimpleNamespace(worker_id=worker_id, incarnation=incarnation, departure="")
            for worker_id, incarnation in cast("Sequence[tuple[str, int]]", kept)
        ],
    )


def test_registration_that_was_acknowledged_has_to_be_on_the_disk_in_that_incarnation_or_a_later_one() -> (
    None
):
    case = Case()
    case.register("a", 5)
    case.start(a=5)
    case.start(a=6)
    assert case.violations == []
    case.start(a=4)
    case.start()
    assert case.promises == [str(REGISTRATIONS_DURABLE)] * 2


def test_registration_that_was_not_acknowledged_may_be_lost() -> None:
    case = Case()
    case.durability.registered("a", 5)
    case.start()
    assert case.violations == []


def test_worker_whose_leave_was_acknowledged_must_not_be_on_the_disk_again() -> None:
    case = Case()
    case.register("a", 5)
    case.durability.departed("a")
    case.start()
    assert case.violations == []
    case.durability.left("a")
    case.start(a=5)
    assert case.promises == [str(REGISTRATIONS_DURABLE)]


def test_disk_that_was_wiped_owes_nothing() -> None:
    case = Case()
    case.register("a", 5)
    case.durability.wiped()
    case.start()
    assert case.violations == []


def test_disk_restored_from_a_backup_owes_what_was_acknowledged_before_the_backup() -> None:
    case = Case()
    fault = Fault("stale-disk", 0.0, ("control-plane",), 5.0)
    case.register("a", 5)
    case.durability.backed_up(fault)
    case.register("b", 6)
    case.durability.restored(fault)
    case.start(a=5)
    assert case.violations == []
    case.start()
    assert [violation.node for violation in case.violations] == ["a"]


def test_incarnation_that_does_not_rise_is_a_violation() -> None:
    case = Case()
    case.register("a", 5)
    case.register("a", 6)
    assert case.violations == []
    case.register("a", 6)
    assert case.promises == [str(OLD_INCARNATIONS_FENCED)]


def test_incarnation_has_to_rise_over_a_lost_disk_too() -> None:
    case = Case()
    case.start()
    case.register("a", 5)
    case.durability.wiped()
    case.start()
    assert not case.durability.may_be_twice("a", 5)
    case.register("a", 5)
    assert case.promises == [str(OLD_INCARNATIONS_FENCED)]


def test_incarnation_may_be_given_twice_after_a_lost_disk_and_a_wall_clock_set_back() -> None:
    case = Case()
    case.start()
    case.register("a", 5)
    case.durability.wiped()
    case.clock.step_wall(-20.0)
    case.start()
    assert case.durability.may_be_twice("a", 5)
    assert not case.durability.may_be_twice("a", 6)
    case.register("a", 5)
    assert case.violations == []
