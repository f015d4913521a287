"""Promise 5: an acknowledged registration is there after any crash; and incarnations, which depend on it,
rise.

A change that was not acknowledged may or may not be there: a crash keeps any prefix of those. A disk restored
from a backup need not have later changes, and a wiped disk need not have any. Incarnations rise all the same,
with one exception: the disk was wiped or restored, *and* the control plane's wall clock, at a start on that
disk before anything else is acknowledged, shows no later time than at an earlier start after which an
incarnation was given.
"""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.store.port import StoredWorker
from sim.engine.clocks import NodeClock
from sim.faults.schedule import Fault
from sim.oracle.ledger import Ledger
from sim.verdict.promises import OLD_INCARNATIONS_FENCED, REGISTRATIONS_DURABLE


class Durability:
    """Keeps what any later run of the control plane has to know, by worker id. `clock` is that of its
    machine."""

    def __init__(self, ledger: Ledger, clock: NodeClock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._promised: dict[str, int] = {}  # registered, in this incarnation or a later one
        self._gone: dict[str, None] = {}  # whose leave was acknowledged
        self._acknowledged: dict[str, int] = {}  # the highest incarnation acknowledged
        self._highest: dict[str, int] = {}  # of all there were
        self._backups: list[tuple[Fault, tuple[dict[str, int], dict[str, None], dict[str, int]]]] = []
        # What the disk has of `_acknowledged`, where it has come back without some of it and nothing has been
        # acknowledged since.
        self._found: dict[str, int] | None = None
        self._started_at_wall_s = 0.0  # the time that the wall clock showed at the last start
        self._given_since_wall_s = 0.0  # the same of the latest start after which an incarnation was given
        self._twice: dict[str, int] = {}  # incarnations up to this one may be given twice

    def acknowledged(self, worker_id: str, incarnation: int) -> None:
        """Note that a registration was acknowledged: it has to be durable from now on."""
        self._found = None
        self._promised[worker_id] = incarnation
        self._acknowledged[worker_id] = max(incarnation, self._acknowledged.get(worker_id, 0))

    def registered(self, worker_id: str, incarnation: int) -> None:
        """Check the incarnation of a registration, which may or may not be acknowledged later."""
        self._given_since_wall_s = max(self._given_since_wall_s, self._started_at_wall_s)
        self._gone.pop(worker_id, None)
        before = self._highest.get(worker_id, 0)
        self._highest[worker_id] = incarnation
        self._ledger.require(
            OLD_INCARNATIONS_FENCED,
            incarnation > before,
            worker_id,
            f"{worker_id} was registered in incarnation {incarnation} after one of {before}",
        )

    def may_be_twice(self, worker_id: str, incarnation: int) -> bool:
        """True if two workers may hold that incarnation of that id; the module's docstring has the reason."""
        return incarnation <= self._twice.get(worker_id, 0)

    def departed(self, worker_id: str) -> None:
        """Forget the registration of a worker that has departed."""
        self._promised.pop(worker_id, None)

    def left(self, worker_id: str) -> None:
        """Note that a leave was acknowledged: the worker must not be on the disk again."""
        self._gone[worker_id] = None

    def wiped(self) -> None:
        """Expect nothing of the disk: it is empty."""
        self._promised, self._gone, self._found = {}, {}, {}

    def backed_up(self, fault: Fault) -> None:
        """Note the state of the disk: `fault` has made a backup."""
        self._backups.append((fault, (dict(self._promised), dict(self._gone), dict(self._acknowledged))))

    def restored(self, fault: Fault) -> None:
        """Expect the state of the backup made when `fault` began."""
        for number, (of, kept) in enumerate(self._backups):
            if of is fault:
                self._promised, self._gone, self._found = kept
                del self._backups[number]
                return

    def started(self, kept: Sequence[StoredWorker]) -> None:
        """Check `kept`, the workers on the disk on which a control plane starts."""
        self._started_at_wall_s = self._clock.wall_s()
        if self._found is not None and self._started_at_wall_s <= self._given_since_wall_s:
            for worker_id, incarnation in self._acknowledged.items():
                self._twice[worker_id] = max(incarnation, self._twice.get(worker_id, 0))
            self._acknowledged = dict(self._found)
        self._highest = dict(self._acknowledged)
        on_disk = {str(worker.worker_id): worker.incarnation for worker in kept if not worker.departure}
        for worker_id, incarnation in self._promised.items():
            self._ledger.require(
                REGISTRATIONS_DURABLE,
                on_disk.get(worker_id, 0) >= incarnation,
                worker_id,
                f"{worker_id} was told it is registered in incarnation {incarnation}; the disk has "
                + (f"{on_disk[worker_id]}" if worker_id in on_disk else "nothing of it"),
            )
        for worker_id in self._gone:
            self._ledger.require(
                REGISTRATIONS_DURABLE,
                worker_id not in on_disk,
                worker_id,
                f"{worker_id} was told it has left, and is on the disk again",
            )
        for worker_id, incarnation in on_disk.items():
            self._highest[worker_id] = max(incarnation, self._highest.get(worker_id, 0))
