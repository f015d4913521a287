"""Restarts and stalls of the control plane give workers the right grace (DESIGN 61, 62)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from minicloud.clock import SystemClock
from minicloud.control.membership import Membership
from minicloud.control.sweeper import Sweeper
from minicloud.core.commands import Cordon, Deregister, Heartbeat, Register, Remove, Uncordon
from minicloud.core.liveness.grace import Run, grace_s, marks_s, remaining_grace_s
from minicloud.core.liveness.policy import LOOKS_PER_TIMEOUT, LivenessPolicy
from minicloud.core.model import Admin, Departed, Departure, Resources, Status, Worker, WorkerId
from minicloud.core.registry import Registry
from minicloud.store.memory import MemoryStore
from tests.unit.control.house import POLICY, RETENTION_S, TIMEOUT_S, FakeClock, House, restarted

RUNS = (Run(1, 50_000, 30_000), Run(2, 20_000, 30_000), Run(3, 5_000, 90_000))


# Grace


def test_grace_is_the_timeout_or_twice_the_interval_told_before() -> None:
    assert grace_s(LivenessPolicy(), ()) == 120.0
    assert grace_s(LivenessPolicy(), RUNS[:2]) == 120.0
    assert grace_s(LivenessPolicy(), RUNS) == 180.0


def test_grace_is_used_up_by_runs_in_which_the_worker_was_not_heard() -> None:
    assert remaining_grace_s(3, 120.0, RUNS) == 120.0
    assert remaining_grace_s(2, 120.0, RUNS) == 115.0
    assert remaining_grace_s(1, 120.0, RUNS) == 95.0
    assert remaining_grace_s(0, 60.0, RUNS) == 0.0


def test_marks_double_up_to_an_eighth_of_the_timeout_and_end_with_the_grace() -> None:
    assert list(marks_s(120.0, 60.0)) == [1.0, 2.0, 4.0, 8.0, 16.0, 31.0, 46.0, 61.0]
    assert list(marks_s(4.0, 4.0)) == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


# Restarts


class Machine:
    """A `Machine` is a control plane's machine: each `run` is a process of its own over one store, on one
    wall clock."""

    def __init__(self, timeout_s: float = 120.0, interval_s: float = 30.0) -> None:
        self.store = MemoryStore()
        self.wall_s = 1_700_000_000.0
        self.timeout_s = timeout_s
        self.interval_s = interval_s
        self.start()

    def start(self, away_s: float = 1.0) -> None:
        self.wall_s += away_s
        self.clock = FakeClock(now_s=5.0, wall_s=self.wall_s)
        snapshot = self.store.snapshot()
        number = snapshot.runs[-1].number + 1 if snapshot.runs else 1
        policy = LivenessPolicy(self.interval_s, self.timeout_s, RETENTION_S)
        registry = Registry(policy, snapshot.incarnation_floor, run=number)
        self.membership = Membership(registry, self.store, self.clock)
        self.membership.restore(snapshot)
        self.membership.awake_by(self.clock.now_s + self.timeout_s / LOOKS_PER_TIMEOUT)

    def listen(self, for_s: float) -> None:
        """Let time pass in the sweeper's steps."""
        step_s = self.timeout_s / LOOKS_PER_TIMEOUT
        end_s = self.clock.now_s + for_s
        while self.clock.now_s < end_s:
            self.clock.now_s = min(end_s, self.clock.now_s + step_s)
            self.membership.awake_by(self.clock.now_s + step_s)
        self.wall_s += for_s

    def register(self, name: str) -> None:
        self.membership.execute(Register(f"{name}:1", WorkerId("g"), name, name))

    def beat(self, name: str) -> None:
        self.membership.execute(Heartbeat(name))

    def status(self, name: str) -> Status:
        worker = self.membership.sweep_due().known(name)
        assert worker is not None
        return worker.status


def test_control_plane_that_restarts_again_and_again_finds_the_dead_and_spares_the_living() -> None:
    machine = Machine(timeout_s=4.0, interval_s=1.0)
    machine.register("dead")
    machine.register("alive")
    healthy_s = 0.0
    for _ in range(20):
        machine.start()
        for _ in range(3):
            machine.beat("alive")
            machine.listen(1.0)
            assert machine.status("alive") is Status.HEALTHY
            healthy_s += machine.status("dead") is Status.HEALTHY
    # This is the grace, but for the second that a start counts before it is over, and for time stored late.
    assert 3.0 <= healthy_s <= 6.0


def test_control_plane_that_listened_long_enough_before_gives_no_second_grace() -> None:
    machine = Machine()
    machine.register("w")
    machine.start()
    machine.listen(100.0)
    machine.start(away_s=3600.0)
    assert machine.status("w") is Status.HEALTHY
    machine.listen(30.0)
    assert machine.status("w") is Status.UNHEALTHY


def test_worker_heard_in_the_run_before_has_a_full_grace_however_long_ago_it_registered() -> None:
    machine = Machine()
    machine.register("w")
    machine.listen(100.0)
    for _ in range(5):
        machine.start()
        machine.beat("w")
        machine.listen(100.0)
    machine.start()
    machine.listen(119.0)
    assert machine.status("w") is Status.HEALTHY
    machine.listen(1.0)
    assert machine.status("w") is Status.UNHEALTHY


def test_timers_shortened_at_a_restart_leave_workers_time_for_the_interval_they_were_told() -> None:
    machine = Machine(timeout_s=120.0, interval_s=30.0)
    machine.register("w")
    machine.timeout_s, machine.interval_s = 20.0, 5.0
    machine.start()
    machine.listen(59.0)
    assert machine.status("w") is Status.HEALTHY
    machine.beat("w")
    machine.listen(20.0)
    assert machine.status("w") is Status.UNHEALTHY
    machine.start()
    machine.register("v")
    machine.start()
    machine.listen(20.0)
    assert machine.status("v") is Status.UNHEALTHY  # its interval was 5 s


def test_first_heartbeat_in_a_run_is_stored_without_a_line_of_history() -> None:
    house = restarted(two_workers())
    house.do(Heartbeat("w"))
    (change,) = house.store.changes
    assert change.entry is None
    assert change.worker is not None
    assert (change.worker.worker_id, change.worker.heard_run) == ("w", house.membership.sweep_due().run)
    house.do(Heartbeat("w"))
    assert len(house.store.changes) == 1


# What is stored, field by field


def two_workers() -> House:
    house = House()
    house.register("w", "A", "10.0.0.7:1")
    house.register("v", "B", "10.0.0.8:1")
    return house


def everything(house: House) -> dict[str, Worker]:
    registry = house.membership.sweep_due()
    known = (*registry.workers(), *registry.departures.workers())
    return {worker.worker_id: replace(worker, sequence=0) for worker in known}


@pytest.mark.parametrize("silent", [False, True])
def test_worker_that_was_restored_is_the_worker_that_was_stored(silent: bool) -> None:
    house = House(FakeClock(now_s=1000.0))
    resources = Resources(1, 2, 3, 4, 0.5, 0.75, 7, 8)
    metadata = {"zone": "a", "rack": "b"}
    house.do(Register("10.0.0.7:1", WorkerId("g"), "w", "A", resources, metadata))
    house.do(Register("10.0.0.8:1", WorkerId("g"), "w", "B", resources, metadata))
    house.clock.now_s += 3.0
    house.do(Cordon("w", "its fan"))
    house.clock.now_s += 4.0
    house.do(Heartbeat("w-1", resources, leaving=True))
    if silent:
        house.clock.now_s += TIMEOUT_S
    house.register("left", "C", "10.0.0.9:1")
    house.do(Deregister("left", "its time had come"))
    house.register("held", "D", "10.0.0.10:1")
    house.do(Cordon("held", "its disk"))
    house.do(Remove("held", "sold"))
    before = everything(house)
    assert before["w"].admin is Admin.CORDONED  # the cordon stays, also where `silent`
    again = restarted(house, away_s=0.0)
    moved_s = house.clock.now_s - again.clock.now_s

    def moved(worker: Worker) -> Worker:
        def to(at_s: float) -> float:
            return at_s - moved_s

        leaving_s, departed = worker.leaving_since_s, worker.departed
        return replace(
            worker,
            registered_at_s=to(worker.registered_at_s),
            last_heartbeat_s=to(worker.last_heartbeat_s),
            health_since_s=to(worker.health_since_s),
            admin_since_s=to(worker.admin_since_s),
            leaving_since_s=None if leaving_s is None else to(leaving_s),
            departed=None if departed is None else replace(departed, at_s=to(departed.at_s)),
        )

    assert everything(again) == {worker_id: moved(worker) for worker_id, worker in before.items()}
    assert everything(again)["held"].departed == Departed(Departure.REMOVED, "sold", again.clock.now_s)


def test_event_ids_go_on_behind_the_last_one_although_the_history_was_cut() -> None:
    house = two_workers()
    snapshot = replace(
        house.store.snapshot(), entries=house.store.snapshot().entries[-1:], last_event_id=12_345
    )
    again = House(snapshot=snapshot)
    again.do(Cordon("w"))
    assert again.last.event_id == 12_346


def test_departed_worker_that_is_remembered_no_longer_leaves_the_store() -> None:
    house = two_workers()
    house.do(Deregister("w"))
    house.do(Cordon("v"))
    house.do(Deregister("v"))
    house.clock.now_s += RETENTION_S
    assert house.membership.sweep_due().known("w") is None
    assert [worker.worker_id for worker in house.store.snapshot().workers] == ["v"]
    house.do(Uncordon("v"))
    house.clock.now_s += RETENTION_S
    assert house.membership.sweep_due().known("v") is None
    assert house.store.snapshot().workers == ()
    assert [entry.kind for entry in house.store.entries[-2:]] == ["departed", "uncordoned"]


# Stalls


@pytest.mark.parametrize("stopped_s", [30.0, 3600.0])
async def test_stalled_control_plane_expires_nobody_for_the_time_it_did_not_listen(
    autojump_clock: MockClock, stopped_s: float
) -> None:
    stalls: list[float] = []
    membership = Membership(Registry(POLICY), MemoryStore(), SystemClock())
    membership.on_stall(stalls.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(Sweeper(membership).run)
        membership.execute(Register("h:1", WorkerId("g"), "w", "A"))
        membership.execute(Register("h:2", WorkerId("g"), "v", "B"))
        await trio.sleep(100.0)
        membership.execute(Heartbeat("v"))
        await trio.sleep(2.5)
        autojump_clock.jump(stopped_s)
        assert membership.stats().healthy == 2  # the first look after the stall
        (by_s,) = stalls
        assert stopped_s - TIMEOUT_S / LOOKS_PER_TIMEOUT <= by_s <= stopped_s
        await trio.sleep(10.0)
        assert membership.stats().healthy == 2
        await trio.sleep(7.6)  # 120 s of silence while it listened, and the part that went unnoticed
        assert membership.stats().unhealthy == 1
        assert stalls == [by_s]
        nursery.cancel_scope.cancel()


async def test_control_plane_that_is_late_by_a_second_is_not_taken_for_stalled(
    autojump_clock: MockClock,
) -> None:
    stalls: list[float] = []
    membership = Membership(Registry(POLICY), MemoryStore(), SystemClock())
    membership.on_stall(stalls.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(Sweeper(membership).run)
        membership.execute(Register("h:1", WorkerId("g"), "w", "A"))
        for _ in range(20):
            await trio.sleep(5.0)
            autojump_clock.jump(0.9)
        await trio.sleep(10.0)
        assert stalls == []
        nursery.cancel_scope.cancel()
