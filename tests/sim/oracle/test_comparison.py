"""The comparison of the registry with the model: each difference is a violation of its promise."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.core.commands import Cordon, Deregister, Heartbeat, Register
from minicloud.core.model import Admin, Resources, Status, WorkerId
from minicloud.store.memory import MemoryStore
from sim.engine.clocks import NodeClock
from sim.oracle.comparison import Comparison
from sim.oracle.model import Member, Model
from sim.verdict.promises import (
    CORDON_LASTS,
    COUNTS_ADD_UP,
    DELIVERY_IDEMPOTENT,
    ENDPOINT_PROVED,
    LEAVING_NOT_OFFERED,
    NO_EARLY_VERDICT,
    OLD_INCARNATIONS_FENCED,
    ONLY_HEALTHY_OFFERED,
    REGISTRATIONS_DURABLE,
    VERDICT_ON_TIME,
    Promise,
)
from tests.sim.oracle.parts import TOPOLOGY, Found, registration

_IDS = ("a", "b", "c")


class Case(Found):
    """A control plane and a model that have the same three workers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        clock = cast("Any", NodeClock(self.timeline))
        plane = ControlPlane(TOPOLOGY.timers, MemoryStore(), Metrics(), clock, Random(1))
        self.membership = plane.membership
        self.model = Model(15.0, 600.0, self.ledger)
        self.comparison = Comparison(self.model, self.ledger)
        for worker_id in _IDS:
            self.register(worker_id)

    def register(self, worker_id: str) -> None:
        self.register_in_registry(worker_id)
        worker = self.membership.sweep_due().get(WorkerId(worker_id))
        assert worker is not None
        self.model.register(worker_id, worker.incarnation, registration(worker_id), self.timeline.now_s)

    def register_in_registry(self, worker_id: str) -> None:
        self.membership.execute(
            Register(
                f"{worker_id}:9091",
                WorkerId("generated"),
                worker_id,
                f"inst-{worker_id}",
                Resources(cpu_cores=8, memory_mb=1000, memory_used_mb=100),
            )
        )

    @property
    def broken(self) -> set[str]:
        """The promises that a comparison finds broken now."""
        self.comparison.compare(self.membership)
        return set(self.promises)


def test_registry_that_equals_the_model_breaks_nothing() -> None:
    case = Case()
    assert case.broken == set()
    assert case.ledger.checks[NO_EARLY_VERDICT] == len(_IDS)


def _set(name: str, value: object) -> Callable[[Case, Member], None]:
    return lambda case, member: setattr(member, name, value)


def _expire(case: Case, member: Member) -> None:
    case.model.expire(member)


def _cordon(case: Case, member: Member) -> None:
    case.model.administer(member.worker_id, Admin.CORDONED, 9)


def _other_load(case: Case, member: Member) -> None:
    member.resources = registration("b", used_mb=101).resources


def _not_there(case: Case, member: Member) -> None:
    case.model.depart(member, True, 0.0, 9)


def _one_more(case: Case, member: Member) -> None:
    case.model.register("d", 1, registration("d"), 0.0)


def _miscounted(case: Case, member: Member) -> None:
    case.model.counts[Status.HEALTHY] += 1


@pytest.mark.parametrize(
    ("differ", "promises"),
    [
        (_expire, {VERDICT_ON_TIME, ONLY_HEALTHY_OFFERED, COUNTS_ADD_UP}),
        (_set("incarnation", 1), {OLD_INCARNATIONS_FENCED}),
        (_set("endpoint", "elsewhere:1"), {ENDPOINT_PROVED}),
        (_set("sequence", 7), {DELIVERY_IDEMPOTENT}),
        (_set("accepted_s", -1.0), {DELIVERY_IDEMPOTENT}),
        (_set("announced_leaving", True), {LEAVING_NOT_OFFERED}),
        (_other_load, {DELIVERY_IDEMPOTENT}),
        (_cordon, {CORDON_LASTS, ONLY_HEALTHY_OFFERED, COUNTS_ADD_UP}),
        (_not_there, {COUNTS_ADD_UP, ONLY_HEALTHY_OFFERED}),
        (_one_more, {REGISTRATIONS_DURABLE, COUNTS_ADD_UP}),
        (_miscounted, {COUNTS_ADD_UP}),
    ],
)
def test_difference_breaks_its_promise(
    differ: Callable[[Case, Member], None], promises: set[Promise]
) -> None:
    case = Case()
    differ(case, case.model.members["b"])
    assert case.broken == {str(promise) for promise in promises}


def test_worker_that_is_unhealthy_too_early_breaks_promise_1() -> None:
    case = Case()
    case.timeline.now_s = 20.0  # past the timeout
    assert case.membership.sweep_due().get(WorkerId("b")) is not None  # sweeps
    assert str(NO_EARLY_VERDICT) in case.broken


def test_heartbeat_that_counts_in_the_registry_alone_breaks_promise_8() -> None:
    case = Case()
    worker = case.membership.sweep_due().get(WorkerId("b"))
    assert worker is not None
    case.timeline.now_s = 1.0
    case.membership.execute(Heartbeat(WorkerId("b"), incarnation=worker.incarnation, sequence=1))
    assert case.broken == {str(DELIVERY_IDEMPOTENT)}


def test_cordon_of_a_worker_that_departed_has_to_stay_listed() -> None:
    case = Case()
    case.membership.execute(Cordon(WorkerId("b")))
    case.model.administer("b", Admin.CORDONED, 9)
    case.membership.execute(Deregister(WorkerId("b"), "bye"))
    case.model.depart(case.model.members["b"], False, 0.0, 10)
    assert case.broken == set()
    case.model.administer("b", Admin.ACTIVE, 11)
    assert case.broken == {str(CORDON_LASTS)}


def test_cordon_that_is_listed_nowhere_breaks_promise_15() -> None:
    case = Case()
    case.model.administer("never-seen", Admin.CORDONED, 9)
    assert case.broken == {str(CORDON_LASTS)}


def test_difference_is_reported_once_for_each_worker() -> None:
    case = Case()
    for worker_id in ("a", "b"):
        case.model.members[worker_id].endpoint = "elsewhere:1"
    for _ in range(3):
        case.comparison.compare(case.membership)
    assert [violation.node for violation in case.violations] == ["a", "b"]
