"""This module puts a membership on a clock that tests set, over a store and a subscriber that note their
calls."""

from __future__ import annotations

from minicloud.control.membership import Membership
from minicloud.core.commands import (
    Command,
    Register,
)
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import Status, Worker, WorkerId
from minicloud.core.registry import Registry
from minicloud.store.memory import MemoryStore
from minicloud.store.port import Change, MembershipEvent, Snapshot

START_S = 1000.0
WALL_S = 1_700_000_000.0
TIMEOUT_S = 120.0
RETENTION_S = 24 * 3600.0
POLICY = LivenessPolicy(heartbeat_timeout_s=TIMEOUT_S, retention_s=RETENTION_S)


class FakeClock:
    """A `FakeClock` has two readings, set by the test."""

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
    """A `Recorder` is a store and a subscriber. It notes in one list the calls that reach it and the state at
    each."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, int, Status | None]] = []
        self.changes: list[Change] = []
        self.entries: list[MembershipEvent] = []
        self.registry = Registry()

    def append(self, change: Change) -> None:
        super().append(change)
        self.changes.append(change)
        if change.entry is not None:
            self._note("append", change.entry)

    def subscriber(self, entry: MembershipEvent) -> None:
        self.entries.append(entry)
        self._note("tell", entry)

    def _note(self, what: str, entry: MembershipEvent) -> None:
        worker = self.registry.get(entry.worker_id)
        self.log.append((what, entry.event_id, worker.status if worker else None))


class House:
    """A `House` has a membership, its clock and its recorder."""

    def __init__(self, clock: FakeClock | None = None, snapshot: Snapshot | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = Recorder()
        self.sweeps: list[tuple[float, float]] = []
        floor = snapshot.incarnation_floor if snapshot else 0
        run = 1 + max((worker.heard_run for worker in snapshot.workers), default=0) if snapshot else 1
        self.store.registry = Registry(POLICY, floor, run=run)
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
    def last(self) -> MembershipEvent:
        return self.store.entries[-1]

    def worker(self, worker_id: str = "w") -> Worker:
        worker = self.membership.sweep_due().get(worker_id)
        assert worker is not None
        return worker


def restarted(house: House, away_s: float = 10.0, wall_step_s: float = 0.0) -> House:
    """Return the same store under a new process, whose monotonic clock starts elsewhere."""
    wall_s = house.clock.wall_s() + away_s + wall_step_s
    return House(FakeClock(now_s=5.0, wall_s=wall_s), house.store.snapshot())
