"""This module assigns ids to workers that register.

Always holds: no registration gets the id of a live worker of another installation
(`tests/unit/core/test_registry_model.py`). A registration costs O(1) however many variants of an id exist,
because the next free suffix is remembered (`tests/unit/core/test_ids.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minicloud.core.commands import MAX_ID_CHARS, Register
from minicloud.core.events import RegistrationOutcome
from minicloud.core.model import Health, Worker, WorkerId

Find = Callable[[WorkerId], Worker | None]


class Origin(NamedTuple):
    """An origin is the installation of a registration (empty from clients without one) and its endpoint."""

    instance_id: str
    endpoint: str


class _Displaced(NamedTuple):
    """A `_Displaced` is the last origin that held an id which another origin holds now."""

    origin: Origin
    incarnation: int
    heard_s: float | None  # the time of its last heartbeat since then


class IdBook:
    """An `IdBook` keeps the data for id assignment. `assign` reads it, the other methods update it.

    A departed worker stays in the book for as long as it is remembered. `find` returns the registered or
    departed worker of an id. A heartbeat proves for `rival_s` that a displaced origin is alive.
    """

    def __init__(self, rival_s: float) -> None:
        self._by_installation: dict[str, dict[WorkerId, None]] = {}
        self._by_place: dict[tuple[str, str], WorkerId] = {}  # wanted id and endpoint
        self._next_suffix: dict[str, int] = {}
        self._displaced: dict[WorkerId, _Displaced] = {}
        self._rival_s = rival_s

    def assign(self, command: Register, find: Find, now_s: float) -> tuple[WorkerId, RegistrationOutcome]:
        """Return the id for a registration, and its outcome. Changes nothing.

        An installation gets the id that it has, or had when it departed, if it asks for that id, for the id
        it asked for last time, or for none. A client that asks for the same id from the same endpoint gets
        the same id (DESIGN 12). Otherwise the wanted id is given if it is free or that of an UNHEALTHY
        worker, else the first free one of `wanted-1`, `wanted-2`, … A live worker that was displaced by
        another one with the same identity gets such a variant too (DESIGN 60).
        """
        own = self._own(command, find)
        wanted = own.worker_id if own is not None else WorkerId(command.worker_id) or command.generated_id
        occupant = own if own is not None else find(wanted)
        if occupant is None:
            return wanted, RegistrationOutcome.NEW
        if occupant.departed is not None:
            return wanted, RegistrationOutcome.RETURNED if own is not None else RegistrationOutcome.NEW
        if own is not None or (command.worker_id and occupant.endpoint == command.endpoint):
            if self._is_rival(wanted, command, now_s):
                return self._variant(WorkerId(command.worker_id) or wanted, find), RegistrationOutcome.CLONE
            return wanted, RegistrationOutcome.AGAIN
        if occupant.health is Health.UNHEALTHY:
            return wanted, RegistrationOutcome.TAKEOVER
        return self._variant(wanted, find), RegistrationOutcome.RENAMED

    def replaced(self, command: Register, worker_id: WorkerId, find: Find) -> list[Worker]:
        """Return the registered workers that depart when the sender of `command` gets `worker_id`: those of
        the same installation at the same endpoint, on which one process at a time can listen."""
        others = self._by_installation.get(command.instance_id, ())
        found = (find(other) for other in others if other != worker_id)
        return [
            worker
            for worker in found
            if worker is not None and worker.departed is None and worker.endpoint == command.endpoint
        ]

    def note(self, worker: Worker, before: Worker | None, find: Find) -> None:
        """Enter `worker` under its id, in place of `before`, which held the id until now."""
        worker_id = worker.worker_id
        if before is not None:
            self._drop(before)
            origin = Origin(before.instance_id, before.endpoint)
            if before.departed is None and origin != (worker.instance_id, worker.endpoint):
                self._displaced[worker_id] = _Displaced(origin, before.incarnation, None)
        if worker.instance_id:
            self._by_installation.setdefault(worker.instance_id, {})[worker_id] = None
        if worker.wanted_id:
            self._by_place[worker.wanted_id, worker.endpoint] = worker_id
        # The next suffix is remembered while the wanted id exists, so the number of workers bounds the book.
        # After a restart a variant may be noted before its base; the next clash then passes each existing
        # variant.
        suffix = worker_id.rpartition("-")[2]
        wanted_id = worker.wanted_id
        if wanted_id != worker_id and suffix.isdecimal() and find(WorkerId(wanted_id)) is not None:
            self._next_suffix[wanted_id] = max(self._next_suffix.get(wanted_id, 1), int(suffix) + 1)

    def depart(self, worker_id: WorkerId) -> None:
        """Drop the displaced origin of an id whose worker has departed."""
        self._displaced.pop(worker_id, None)

    def forget(self, worker: Worker) -> None:
        """Drop everything about `worker.worker_id`. No registered or departed worker has the id any more."""
        self._drop(worker)
        self._next_suffix.pop(worker.worker_id, None)
        self._displaced.pop(worker.worker_id, None)

    def is_displaced(self, worker_id: WorkerId, incarnation: int) -> bool:
        """Return True if another origin took the id from the worker of `incarnation`."""
        displaced = self._displaced.get(worker_id)
        return displaced is not None and displaced.incarnation == incarnation

    def rival_heard(self, worker_id: WorkerId, now_s: float) -> None:
        """Record a heartbeat of the displaced origin of the id."""
        self._displaced[worker_id] = self._displaced[worker_id]._replace(heard_s=now_s)

    def _own(self, command: Register, find: Find) -> Worker | None:
        """Return the worker that the sender of `command` is or was; the newest of several."""
        wanted_id, endpoint = command.worker_id, command.endpoint
        mine = [
            worker
            for worker_id in reversed(self._by_installation.get(command.instance_id, {}))
            if (worker := find(worker_id)) is not None and wanted_id in ("", worker_id, worker.wanted_id)
        ]
        mine.sort(key=lambda worker: worker.departed is not None)
        # Two live processes with one identity have different endpoints. One that moves asks by its id.
        for worker in mine:
            if worker.endpoint == endpoint:
                return worker
        for worker in mine:
            if worker.worker_id == wanted_id:
                return worker
        if mine:
            return mine[0]
        place = self._by_place.get((wanted_id, endpoint))
        return find(place) if place is not None else None

    def _is_rival(self, worker_id: WorkerId, command: Register, now_s: float) -> bool:
        displaced = self._displaced.get(worker_id)
        return (
            displaced is not None
            and displaced.origin == (command.instance_id, command.endpoint)
            and displaced.heard_s is not None
            and now_s < displaced.heard_s + self._rival_s
        )

    def _drop(self, worker: Worker) -> None:
        worker_id = worker.worker_id
        ids = self._by_installation.get(worker.instance_id)
        if ids is not None:
            ids.pop(worker_id, None)
            if not ids:
                del self._by_installation[worker.instance_id]
        place = (worker.wanted_id, worker.endpoint)
        if self._by_place.get(place) == worker_id:
            del self._by_place[place]

    def _variant(self, wanted: WorkerId, find: Find) -> WorkerId:
        # The loop passes only variants that a client asked for by name, each once, as `note` remembers.
        number = self._next_suffix.get(wanted, 1)
        while True:
            suffix = f"-{number}"
            variant = WorkerId(wanted[: MAX_ID_CHARS - len(suffix)] + suffix)
            if find(variant) is None:
                return variant
            number += 1
