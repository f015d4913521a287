"""Which id a newcomer gets.

Never gives an id that a live worker of another installation holds. Costs O(1) a registration, however many
variants of an id exist: the next free suffix is remembered, not searched for.
"""

from __future__ import annotations

from collections.abc import Mapping

from minicloud.core.commands import MAX_ID_CHARS, Register
from minicloud.core.events import Registration
from minicloud.core.model import Health, Worker, WorkerId

# The sender of a registration: its installation or, where a client sends none, what it wants and where it is.
_Identity = tuple[str, str]


class IdBook:
    """The memory behind id assignment; `assign` reads it, the rest keep it."""

    def __init__(self) -> None:
        self._held_by: dict[_Identity, WorkerId] = {}
        self._next_suffix: dict[str, int] = {}

    def assign(self, command: Register, workers: Mapping[WorkerId, Worker]) -> tuple[WorkerId, Registration]:
        """The id for a newcomer and how it comes to it. Changes nothing.

        An installation gets back the id it has when it asks for that one, for the one it asked for last
        time, or for none. Otherwise the wanted id is given if it is free, the newcomer's own, or held by a
        worker gone silent; else `wanted-1`, `wanted-2`, …
        """
        identity = _identity(command.instance_id, command.worker_id, command.endpoint)
        held_id = self._held_by.get(identity) if identity is not None else None
        held = workers.get(held_id) if held_id is not None else None
        if held is not None and command.worker_id in ("", held.worker_id, held.wanted_id):
            return held.worker_id, Registration.AGAIN
        wanted = WorkerId(command.worker_id) or command.generated_id
        occupant = workers.get(wanted)
        if occupant is None:
            return wanted, Registration.NEW
        if _same_installation(command, occupant):
            return wanted, Registration.AGAIN
        if occupant.health is Health.UNHEALTHY:
            return wanted, Registration.TAKEOVER
        return self._variant(wanted, workers), Registration.RENAMED

    def note(self, worker: Worker, workers: Mapping[WorkerId, Worker]) -> None:
        """Remember who holds `worker.worker_id` now."""
        identity = _identity(worker.instance_id, worker.wanted_id, worker.endpoint)
        if identity is not None:
            self._held_by[identity] = worker.worker_id
        # Only while somebody holds the wanted id, which bounds the book by the number of workers. At worst
        # (variants noted before their base, after a restart) the next clash walks over those still there.
        wanted_id = worker.wanted_id
        suffix = worker.worker_id.rpartition("-")[2]
        if wanted_id != worker.worker_id and wanted_id in workers and suffix.isdecimal():
            self._next_suffix[wanted_id] = max(self._next_suffix.get(wanted_id, 1), int(suffix) + 1)

    def leave(self, worker: Worker) -> None:
        """Forget all about `worker.worker_id`: it is nobody's now."""
        self.drop(worker)
        self._next_suffix.pop(worker.worker_id, None)

    def drop(self, worker: Worker) -> None:
        """Forget who held `worker.worker_id`: it is about to be another's, or his anew."""
        identity = _identity(worker.instance_id, worker.wanted_id, worker.endpoint)
        if identity is not None and self._held_by.get(identity) == worker.worker_id:
            del self._held_by[identity]

    def _variant(self, wanted: WorkerId, workers: Mapping[WorkerId, Worker]) -> WorkerId:
        # Loops only over variants somebody asked for by name; each is passed once, as `note` remembers.
        number = self._next_suffix.get(wanted, 1)
        while True:
            suffix = f"-{number}"
            variant = WorkerId(wanted[: MAX_ID_CHARS - len(suffix)] + suffix)
            if variant not in workers:
                return variant
            number += 1


def _identity(instance_id: str, wanted_id: str, endpoint: str) -> _Identity | None:
    """None for a client that sends neither identity nor wanted id: two of those may well share an endpoint
    (`localhost:9091` on two machines), and must not be taken for one."""
    if instance_id:
        return ("", instance_id)
    return (wanted_id, endpoint) if wanted_id else None


def _same_installation(command: Register, occupant: Worker) -> bool:
    if command.instance_id and occupant.instance_id:
        return command.instance_id == occupant.instance_id
    return command.endpoint == occupant.endpoint
