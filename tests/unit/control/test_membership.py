"""A change has its order: what is stored, which subscribers are notified, and what each of them sees (DESIGN
5)."""

from __future__ import annotations

import pytest
import trio

from minicloud.control.membership import Membership
from minicloud.core.commands import (
    Cordon,
    Deregister,
    Drain,
    Heartbeat,
    Register,
    Remove,
    Uncordon,
)
from minicloud.core.errors import FencedError, UnknownWorkerError
from minicloud.core.model import Admin, Health, Resources, Status, WorkerId
from minicloud.core.registry import Registry
from minicloud.request_id import RequestScope
from minicloud.store.memory import MemoryStore
from minicloud.store.port import MembershipEvent
from tests.unit.control.house import RETENTION_S, TIMEOUT_S, WALL_S, FakeClock, House


@pytest.fixture
def house() -> House:
    return House()


# The order of a change


def test_change_is_appended_before_anyone_is_told_and_both_see_it_made(house: House) -> None:
    house.register()
    house.do(Drain("w"))
    house.do(Remove("w"))
    assert house.store.log == [
        ("append", 1, Status.HEALTHY),
        ("tell", 1, Status.HEALTHY),
        ("append", 2, Status.DRAINING),
        ("tell", 2, Status.DRAINING),
        ("append", 3, None),
        ("tell", 3, None),
    ]


def test_subscribers_are_told_in_the_order_they_came(house: House) -> None:
    told: list[str] = []
    house.membership.subscribe(lambda entry: told.append("second"))
    house.membership.subscribe(lambda entry: told.append("third"))
    house.register()
    assert told == ["second", "third"]


def test_command_refused_leaves_no_trace(house: House) -> None:
    house.register()
    house.register()
    for command, error in ((Drain("x"), UnknownWorkerError), (Heartbeat("w", None, 1), FencedError)):
        with pytest.raises(error):
            house.do(command)
    assert len(house.store.changes) == 2


def test_heartbeat_and_command_without_effect_are_neither_kept_nor_told(house: House) -> None:
    house.register()
    assert len(house.membership.execute(Heartbeat("w", Resources(active_queries=3), 1, 1))) == 1
    assert house.worker().resources.active_queries == 3
    for command in (Heartbeat("w", None, 1, 1), Uncordon("w")):
        assert house.membership.execute(command) == ()
    assert len(house.store.changes) == 1
    assert len(house.store.entries) == 1


async def test_durable_waits_for_the_store() -> None:
    class NeverDurable(MemoryStore):
        async def flushed(self) -> None:
            await trio.sleep_forever()

    membership = Membership(Registry(), NeverDurable(), FakeClock())
    with trio.move_on_after(0) as scope:
        await membership.durable()
    assert scope.cancelled_caught
    with trio.fail_after(5):
        await House().membership.durable()


# Entries


def line(entry: MembershipEvent) -> tuple[str, str, Status, Status]:
    return entry.kind, entry.detail, entry.old_status, entry.new_status


def test_entries_tell_every_kind_of_change_with_its_statuses(house: House) -> None:
    off, healthy, unhealthy, draining = Status.OFFLINE, Status.HEALTHY, Status.UNHEALTHY, Status.DRAINING

    def expect(kind: str, detail: str, old: Status, new: Status, reason: str) -> None:
        assert line(house.last) == (kind, detail, old, new)
        assert house.last.reason == reason

    house.register()
    expect("registered", "new", off, healthy, "registered")
    house.register()
    expect("registered", "again", healthy, healthy, "registered again")
    house.register(instance="B", endpoint="10.0.0.8:9091")
    assert house.last.worker_id == "w-1"
    expect("registered", "renamed", off, healthy, "registered under a variant of the id it wanted")
    house.do(Deregister("w-1", "SIGTERM"))
    expect("departed", "left", healthy, off, "SIGTERM")
    house.do(Cordon("w"))
    expect("cordoned", "", healthy, draining, "cordoned by an operator")
    house.do(Uncordon("w"))
    expect("uncordoned", "", draining, healthy, "uncordoned by an operator")
    house.do(Drain("w"))
    expect("draining", "", healthy, draining, "draining for an operator")
    house.clock.now_s += TIMEOUT_S
    assert house.worker().status is unhealthy
    expect("unhealthy", "", draining, unhealthy, "no heartbeat for 120 s")
    house.do(Heartbeat("w"))
    expect("recovered", "", unhealthy, draining, "heartbeat after 120 s of silence")
    house.clock.now_s += TIMEOUT_S
    house.register(instance="C", endpoint="10.0.0.9:9091")
    expect("registered", "takeover", unhealthy, draining, "draining for an operator")
    assert house.last.incarnation == 3
    house.do(Deregister("w"))
    expect("departed", "drained", draining, off, "drained")
    house.do(Uncordon("w"))  # a drain that has ended leaves a cordon behind it (DESIGN 13)
    expect("uncordoned", "", off, off, "uncordoned by an operator")
    house.register()
    expect("registered", "new", off, healthy, "registered")
    house.do(Heartbeat("w", leaving=True))
    expect("leaving", "", healthy, draining, "shutting down")
    house.register()
    house.do(Remove("w"))
    expect("departed", "removed", healthy, off, "removed by an operator")
    house.register()
    house.clock.now_s += TIMEOUT_S + RETENTION_S
    assert len(house.membership.sweep_due()) == 0
    expect("departed", "forgotten", unhealthy, off, "UNHEALTHY for 86400 s")
    ids = [entry.event_id for entry in house.store.entries]
    assert ids == list(range(1, len(ids) + 1))
    assert house.store.entries == [change.entry for change in house.store.changes if change.entry]


def test_entry_names_the_worker_and_the_moment(house: House) -> None:
    house.clock.now_s += 1.5
    house.register()
    entry = house.last
    assert (entry.worker_id, entry.incarnation, entry.endpoint) == ("w", 1, "10.0.0.7:9091")
    assert entry.at_ms == round((WALL_S + 1.5) * 1000)
    house.clock.now_s += 3000.0
    house.worker()
    assert house.last.at_ms == round(
        (WALL_S + 1.5 + TIMEOUT_S) * 1000
    )  # the deadline, however late the sweep was


def test_entry_carries_the_request_that_caused_it_and_a_sweeps_none(house: House) -> None:
    with RequestScope("abc"):
        house.register()
        assert house.last.request_id == "abc"
        house.clock.now_s += TIMEOUT_S
        house.worker()  # a request that only reads did not make it unhealthy
    assert (house.last.kind, house.last.request_id) == ("unhealthy", "")


# What is kept


def test_change_keeps_the_worker_as_it_is_after_it(house: House) -> None:
    house.clock.now_s += 1.0
    house.membership.execute(Register("h:1", WorkerId("g"), "w", "A", Resources(cpu_cores=8), {"zone": "eu"}))
    house.clock.now_s += 1.0
    house.do(Heartbeat("w", Resources(cpu_cores=4), 1, 1))
    house.clock.now_s += 1.0
    house.do(Drain("w"))
    kept = house.store.changes[-1].worker
    assert kept is not None
    assert (kept.worker_id, kept.endpoint, kept.instance_id, kept.wanted_id) == ("w", "h:1", "A", "w")
    assert (kept.metadata, kept.incarnation, kept.resources) == ({"zone": "eu"}, 1, Resources(cpu_cores=4))
    assert (kept.registered_at_ms, kept.last_heartbeat_ms, kept.admin_since_ms) == (
        1_700_000_001_000,
        1_700_000_002_000,
        1_700_000_003_000,
    )
    assert (kept.health, kept.health_reason, kept.health_since_ms) == (
        Health.HEALTHY, "registered", 1_700_000_001_000,
    )  # fmt: skip
    assert (kept.admin, kept.admin_reason) == (Admin.DRAINING, "draining for an operator")


def test_change_of_a_recovery_keeps_the_heartbeat_it_came_from(house: House) -> None:
    house.register()
    house.clock.now_s += 500.0
    house.do(Heartbeat("w"))
    kept = house.store.changes[-1].worker
    assert kept is not None
    assert kept.last_heartbeat_ms == round((WALL_S + 500.0) * 1000)


def test_change_of_a_departure_keeps_the_departed_worker_and_raises_the_floor(house: House) -> None:
    house.register()
    house.register()
    house.do(Remove("w", "sold"))
    change = house.store.changes[-1]
    assert change.worker is not None
    assert (change.worker.departure, change.worker.departure_reason) == ("removed", "sold")
    assert change.worker.departed_at_ms == round(WALL_S * 1000)
    assert change.incarnation_floor == 2
    assert [each.incarnation_floor for each in house.store.changes] == [0, 0, 2]
