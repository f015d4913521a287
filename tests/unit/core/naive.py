"""This is membership written without a thought of speed: the model that the registry is compared with.

It is written from the rules, not from the code. No deadlines are stored: they are computed from the moment
each worker was last heard. No ids are booked: all workers are looked at each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from minicloud.core.commands import Register
from minicloud.core.model import Resources, WorkerId

Place = tuple[str, str]  # wanted id and endpoint
Origin = tuple[str, str]  # instance and endpoint


@dataclass
class NaiveWorker:
    endpoint: str
    instance: str
    wanted: str
    incarnation: int
    heard_s: float
    resources: Resources
    given: int = 0  # rises with each id that is given
    sequence: int = 0
    unheard_until_s: float | None = None  # the end of the grace that a restart gave it
    silent_since_s: float | None = None
    leaving: bool = False
    admin: str = "ACTIVE"
    admin_reason: str = ""
    departure: str = ""
    departed_s: float = 0.0
    retained_s: float = 0.0  # the moment since which it is remembered
    retained: int = 0  # rises with each departure

    @property
    def status(self) -> str:
        if self.departure:
            return "OFFLINE"
        if self.silent_since_s is not None:
            return "UNHEALTHY"
        return "HEALTHY" if self.admin == "ACTIVE" and not self.leaving else "DRAINING"


@dataclass
class Rival:
    origin: Origin
    incarnation: int
    heard_s: float = -math.inf


@dataclass
class Naive:
    """A `Naive` has the workers by id, and the departed ones."""

    timeout_s: float
    retention_s: float
    max_departed: int
    workers: dict[str, NaiveWorker] = field(default_factory=dict)
    departed: dict[str, NaiveWorker] = field(default_factory=dict)
    floor: int = 0
    count: int = 0
    given_last: dict[Place, str] = field(default_factory=dict)
    suffixes: list[tuple[str, int]] = field(default_factory=list)  # (base, number), while the base exists
    rivals: dict[str, Rival] = field(default_factory=dict)  # the worker from which each id was taken

    def known(self, worker_id: str) -> NaiveWorker | None:
        return self.workers.get(worker_id) or self.departed.get(worker_id)

    def due_s(self, worker: NaiveWorker) -> float:
        if worker.departure:
            return worker.retained_s + self.retention_s if worker.admin == "ACTIVE" else math.inf
        if worker.silent_since_s is not None:
            return worker.silent_since_s + self.retention_s
        if worker.unheard_until_s is not None:
            return worker.unheard_until_s
        return worker.heard_s + self.timeout_s

    def next_s(self) -> float:
        everyone = (*self.workers.values(), *self.departed.values())
        return min((self.due_s(worker) for worker in everyone), default=math.inf)

    def pass_time(self, now_s: float) -> None:
        for worker in self.workers.values():
            if worker.silent_since_s is None and self.due_s(worker) <= now_s:
                worker.silent_since_s = self.due_s(worker)
                worker.unheard_until_s = None
        for worker_id in list(self.workers):
            worker = self.workers[worker_id]
            if worker.silent_since_s is not None and self.due_s(worker) <= now_s:
                self.leave(worker_id, "forgotten", self.due_s(worker))
        for worker_id in list(self.departed):
            if self.due_s(self.departed[worker_id]) <= now_s:
                self.forget(worker_id)

    def leave(self, worker_id: str, departure: str, now_s: float) -> None:
        worker = self.workers.pop(worker_id)
        self.floor = max(self.floor, worker.incarnation)
        self.rivals.pop(worker_id, None)
        if departure == "forgotten" and worker.admin == "ACTIVE":
            self.forget(worker_id)
            return
        if worker.admin == "DRAINING":
            worker.admin = "CORDONED"
            if worker.admin_reason == "draining for an operator":
                worker.admin_reason = "drained for an operator"
        worker.departure, worker.departed_s = departure, now_s
        self.retain(worker, now_s)
        self.departed[worker_id] = worker
        self.evict()

    def retain(self, worker: NaiveWorker, now_s: float) -> None:
        self.count += 1
        worker.retained_s, worker.retained = now_s, self.count

    def evict(self) -> None:
        free = [worker_id for worker_id, worker in self.departed.items() if worker.admin == "ACTIVE"]
        free.sort(key=lambda worker_id: self.departed[worker_id].retained)
        for worker_id in free[: max(0, len(free) - self.max_departed)]:
            self.forget(worker_id)

    def forget(self, worker_id: str) -> None:
        self.departed.pop(worker_id, None)
        self.suffixes = [each for each in self.suffixes if each[0] != worker_id]

    def own(self, command: Register) -> str:
        """Return the id that the sender has or had; empty where it has none."""
        wanted = command.worker_id
        mine = [
            (worker_id, worker)
            for worker_id, worker in (*self.workers.items(), *self.departed.items())
            if worker.instance and worker.instance == command.instance_id
            if wanted in ("", worker_id, worker.wanted)
        ]
        if mine:
            best = max(
                mine,
                key=lambda each: (
                    each[1].endpoint == command.endpoint,
                    not each[1].departure if each[1].endpoint == command.endpoint else each[0] == wanted,
                    not each[1].departure,
                    each[1].given,
                ),
            )
            return best[0]
        place = (wanted, command.endpoint)
        last = self.given_last.get(place, "")
        holder = self.known(last)
        return last if holder is not None and wanted and (holder.wanted, holder.endpoint) == place else ""

    def whose(self, command: Register, now_s: float) -> tuple[str, str]:
        """Return the id that `command` should get, and the kind of registration."""
        own = self.own(command)
        wanted = own or command.worker_id or command.generated_id
        holder = self.known(wanted)
        if holder is None:
            return wanted, "new"
        if holder.departure:
            return wanted, "returned" if own else "new"
        if own or (command.worker_id and holder.endpoint == command.endpoint):
            rival = self.rivals.get(wanted)
            origin = (command.instance_id, command.endpoint)
            if rival is not None and rival.origin == origin and now_s < rival.heard_s + self.timeout_s:
                return self.variant(command.worker_id or wanted), "clone"
            return wanted, "again"
        if holder.status == "UNHEALTHY":
            return wanted, "takeover"
        return self.variant(wanted), "renamed"

    def variant(self, wanted: str) -> str:
        number = 1 + max((each for base, each in self.suffixes if base == wanted), default=0)
        while self.known(variant(wanted, number)) is not None:
            number += 1
        return variant(wanted, number)

    def makes_room(self, command: Register, worker_id: str) -> list[str]:
        """Return the workers that depart because the sender registers under another id at the same endpoint,
        newest last."""
        return [
            other
            for other, worker in sorted(self.workers.items(), key=lambda each: each[1].given)
            if other != worker_id and worker.instance and worker.instance == command.instance_id
            if worker.endpoint == command.endpoint
        ]

    def register(self, command: Register, now_s: float) -> None:
        worker_id, how = self.whose(command, now_s)
        before = self.known(worker_id)
        wanted = command.worker_id
        if how in ("again", "returned") and before is not None and wanted in ("", worker_id):
            wanted = before.wanted or wanted
        leaving = self.makes_room(command, worker_id)
        earlier = [before] if before is not None else []
        earlier += [self.workers[other] for other in reversed(leaving)]
        incarnation = max(self.floor, *(each.incarnation for each in earlier), 0) + 1
        held = [(each.admin, each.admin_reason) for each in earlier if each.admin != "ACTIVE"]
        admin = held[0] if held else (before.admin, before.admin_reason) if before else ("ACTIVE", "")
        for other in leaving:
            self.leave(other, "replaced", now_s)
        if worker_id in self.departed:
            del self.departed[worker_id]
        elif before is not None and (before.instance, before.endpoint) != (
            command.instance_id,
            command.endpoint,
        ):
            origin = (before.instance, before.endpoint)
            self.rivals[worker_id] = Rival(origin, before.incarnation)
        self.workers[worker_id] = worker = NaiveWorker(
            endpoint=command.endpoint,
            instance=command.instance_id,
            wanted=wanted,
            incarnation=incarnation,
            heard_s=now_s,
            resources=command.resources,
            admin=admin[0],
            admin_reason=admin[1],
        )
        self.book(worker_id, worker)

    def book(self, worker_id: str, worker: NaiveWorker) -> None:
        self.count += 1
        worker.given = self.count
        if worker.wanted:
            self.given_last[worker.wanted, worker.endpoint] = worker_id
        for number in range(1, 1000):
            if self.known(worker.wanted) is not None and worker_id == variant(worker.wanted, number):
                self.suffixes.append((worker.wanted, number))


def variant(base: str, number: int) -> WorkerId:
    suffix = f"-{number}"
    return WorkerId(base[: 128 - len(suffix)] + suffix)
