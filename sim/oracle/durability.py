"""Promise 5: what was acknowledged is there after any crash; and incarnations, which depend on it, rise.

What was not acknowledged may or may not be there: a crash keeps any prefix of it. What happened after a
backup is not expected of a disk restored from it, and nothing of a disk that was wiped.
"""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.store.port import StoredWorker
from sim.oracle.ledger import Ledger
from sim.oracle.promises import OLD_INCARNATIONS_FENCED, REGISTRATIONS_DURABLE
from sim.scenario.schedule import Fault


class Durability:
    """What any later run of the control plane has to know, by worker id."""

    def __init__(self, ledger: Ledger) -> None:
        self.forgetful = False  # a disk has come back without what it had been given
        self._ledger = ledger
        self._promised: dict[str, int] = {}  # registered, in this incarnation or a later one
        self._gone: dict[str, None] = {}  # were told that they have left
        self._highest_told: dict[str, int] = {}  # incarnation, of all that anybody was told
        self._highest: dict[str, int] = {}  # of all there were
        self._backups: list[tuple[Fault, tuple[dict[str, int], dict[str, None], dict[str, int]]]] = []

    def acknowledged(self, worker_id: str, incarnation: int) -> None:
        """A worker was told that it is registered."""
        self._promised[worker_id] = incarnation
        self._highest_told[worker_id] = max(incarnation, self._highest_told.get(worker_id, 0))

    def registered(self, worker_id: str, incarnation: int) -> None:
        """It is, whether or not it will ever hear of it."""
        self._gone.pop(worker_id, None)
        before = self._highest.get(worker_id, 0)
        self._highest[worker_id] = incarnation
        self._ledger.require(
            OLD_INCARNATIONS_FENCED,
            incarnation > before,
            worker_id,
            f"{worker_id} was registered in incarnation {incarnation} after one of {before}",
        )

    def departed(self, worker_id: str) -> None:
        """It is not any more."""
        self._promised.pop(worker_id, None)

    def left(self, worker_id: str) -> None:
        """It was told that it has left."""
        self._gone[worker_id] = None

    def wiped(self) -> None:
        """The disk is empty."""
        self.forgetful = True
        self._promised, self._gone, self._highest_told = {}, {}, {}

    def backed_up(self, fault: Fault) -> None:
        """The disk was copied."""
        self._backups.append((fault, (dict(self._promised), dict(self._gone), dict(self._highest_told))))

    def restored(self, fault: Fault) -> None:
        """The disk was restored from the copy made when `fault` began."""
        self.forgetful = True
        for number, (of, kept) in enumerate(self._backups):
            if of is fault:
                self._promised, self._gone, self._highest_told = kept
                del self._backups[number]
                return

    def started(self, kept: Sequence[StoredWorker]) -> None:
        """A control plane starts on a disk that holds `kept`."""
        self._highest = dict(self._highest_told)
        found = {str(worker.worker_id): worker.incarnation for worker in kept}
        for worker_id, incarnation in self._promised.items():
            self._ledger.require(
                REGISTRATIONS_DURABLE,
                found.get(worker_id, 0) >= incarnation,
                worker_id,
                f"{worker_id} was told it is registered in incarnation {incarnation}; the disk has "
                + (f"{found[worker_id]}" if worker_id in found else "nothing of it"),
            )
        for worker_id in self._gone:
            self._ledger.require(
                REGISTRATIONS_DURABLE,
                worker_id not in found,
                worker_id,
                f"{worker_id} was told it has left, and is on the disk again",
            )
        for worker_id, incarnation in found.items():
            self._highest[worker_id] = max(incarnation, self._highest.get(worker_id, 0))
