"""The order of a change, sweep before read, and what a restart or a wall clock that is set does."""

from __future__ import annotations

import math

import pytest
import trio

from minicloud.control.membership import Membership
from minicloud.core.commands import (
    Command,
    Cordon,
    Deregister,
    Drain,
    Heartbeat,
    Register,
    Remove,
    Uncordon,
)
from minicloud.core.errors import FencedError, UnknownWorkerError
from minicloud.core.model import Admin, Health, Resources, Status, Worker, WorkerId
from minicloud.core.registry import Registry
from minicloud.request_id import RequestScope
from minicloud.store.memory import MemoryStore
from minicloud.store.port import Change, Entry, Snapshot

START_S = 1000.0
WALL_S = 1_700_000_000.0
TIMEOUT_S = 120.0
RETENTION_S = 24 * 3600.0


class FakeClock:
    """Two hands, set by the test."""

    def __init__(self, now_s: float = START_S, wall_s: float = WALL_S) -> None:
        self.now_s = now_s
        self.set_wall_s(wall_s)

    def set_wall_s(self, wall_s: float) -> None:
        self.offset_s = wall_s - self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s + self.offset_s

    async def sleep_until(self, deadline_s: float) -> None:
        raise AssertionError("membership does not sleep")


class Recorder(MemoryStore):
    """A store, and a subscriber, that note in one list what reaches them and what they see then."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, int, Status | None]] = []
        self.changes: list[Change] = []
        self.entries: list[Entry] = []
        self.registry = Registry()

    def append(self, change: Change) -> None:
        super().append(change)
        self.changes.append(change)
        self._note("append", change.entry)

    def subscriber(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._note("tell", entry)

    def _note(self, what: str, entry: Entry) -> None:
        worker = self.registry.get(entry.worker_id)
        self.log.append((what, entry.event_id, worker.status if worker else None))


class House:
    """A membership, its clock and its recorder."""

    def __init__(self, clock: FakeClock | None = None, snapshot: Snapshot | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = Recorder()
        self.sweeps: list[tuple[float, float]] = []
        floor = snapshot.incarnation_floor if snapshot else 0
        self.store.registry = Registry(TIMEOUT_S, RETENTION_S, floor)
        self.membership = Membership(
            self.store.registry,
            self.store,
            self.clock,
            swept=lambda duration_s, lateness_s: self.sweeps.append((duration_s, lateness_s)),
        )
        self.membership.subscribe(self.store.subscriber)
        if snapshot is not None:
            self.membership.restore(snapshot)

    def register(self, wanted: str = "w", instance: str = "A", endpoint: str = "10.0.0.7:9091") -> str:
        self.membership.execute(Register(endpoint, WorkerId("generated"), wanted, instance))
        return self.last.worker_id

    def do(self, command: Command) -> None:
        self.membership.execute(command)

    @property
    def last(self) -> Entry:
        return self.store.entries[-1]

    def worker(self, worker_id: str = "w") -> Worker:
        worker = self.membership.registry.get(worker_id)
        assert worker is not None
        return worker


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


def line(entry: Entry) -> tuple[str, str, Status, Status]:
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
    house.register(instance="B")
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
    house.register(instance="C")
    expect("registered", "takeover", unhealthy, draining, "draining for an operator")
    assert house.last.incarnation == 3
    house.do(Deregister("w"))
    expect("departed", "drained", draining, off, "drained")
    house.register()
    house.do(Remove("w"))
    expect("departed", "removed", healthy, off, "removed by an operator")
    house.register()
    house.clock.now_s += TIMEOUT_S + RETENTION_S
    assert len(house.membership.registry) == 0
    expect("departed", "forgotten", unhealthy, off, "UNHEALTHY for 86400 s")
    ids = [entry.event_id for entry in house.store.entries]
    assert ids == list(range(1, len(ids) + 1))
    assert house.store.entries == [change.entry for change in house.store.changes]


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
    )  # the deadline, however late it was swept


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


def test_change_of_a_departure_keeps_nothing_but_the_floor(house: House) -> None:
    house.register()
    house.register()
    house.do(Remove("w"))
    change = house.store.changes[-1]
    assert change.worker is None
    assert change.incarnation_floor == 2
    assert [each.incarnation_floor for each in house.store.changes] == [0, 0, 2]


# Sweep before read


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
    assert house.register(instance="B") == "w"
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
    assert house.membership.registry.get("w") is None
    assert [entry.kind for entry in house.store.entries] == ["registered", "unhealthy", "departed"]
    house.clock.now_s += TIMEOUT_S + RETENTION_S
    house.register()
    assert house.last.detail == "new"


# The wall clock


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


# Restarts


def restarted(house: House, away_s: float = 10.0, wall_step_s: float = 0.0) -> House:
    """The same store under a new process, whose monotonic clock starts elsewhere."""
    wall_s = house.clock.wall_s() + away_s + wall_step_s
    return House(FakeClock(now_s=5.0, wall_s=wall_s), house.store.load())


def test_restore_keeps_every_status_and_reason_and_tells_nobody(house: House) -> None:
    house.register("silent")
    house.clock.now_s += TIMEOUT_S
    house.register("well", instance="B")
    house.register("drained", instance="C")
    house.do(Drain("drained"))
    before = house.membership.registry
    after = restarted(house)
    assert [
        (worker.worker_id, worker.status, worker.status_reason, worker.incarnation)
        for worker in after.membership.registry.workers()
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
    assert len(after.membership.execute(Heartbeat("w", None, 1, 501))) == 1
    after = restarted(house)
    assert len(after.membership.execute(Heartbeat("w", None, 1, 1))) == 1


def test_restore_forgets_the_silent_by_when_they_fell_silent(house: House) -> None:
    house.register("z-first")
    house.clock.now_s += 60.0
    house.register("a-second", instance="B")
    house.clock.now_s += TIMEOUT_S
    assert house.membership.stats().unhealthy == 2
    after = restarted(house, away_s=RETENTION_S - 30.0)
    assert [worker.worker_id for worker in after.membership.registry.workers()] == ["a-second"]
    after.clock.now_s += 30.0
    assert len(after.membership.registry) == 0
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
    for worker in after.membership.registry.workers():
        assert worker.last_heartbeat_s <= 5.0
        assert worker.registered_at_s <= 5.0
        assert worker.status_since_s <= 5.0
    assert after.membership.stats().oldest_heartbeat_age_s == 0.0
    assert after.membership.next_deadline_s() == 5.0 + TIMEOUT_S
    after.clock.now_s += 7.0
    after.do(Heartbeat("silent"))
    assert after.last.reason == "heartbeat after 7 s of silence"
