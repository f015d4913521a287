"""Membership as one would write it without a thought of speed: the model the registry is held against.

Written from the rules, not from the code: no deadlines are kept, they are worked out from when each worker
was last heard; no ids are booked, everyone is looked at each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minicloud.core.commands import Register
from minicloud.core.model import Resources, WorkerId

Sender = tuple[str, ...]


@dataclass
class NaiveWorker:
    endpoint: str
    instance: str
    wanted: str
    incarnation: int
    heard_s: float
    resources: Resources
    sequence: int = 0
    grace_s: float = -math.inf  # since when it is waited for anew, after a restart
    silent_since_s: float | None = None
    admin: str = "ACTIVE"
    admin_reason: str = ""

    @property
    def sender(self) -> Sender | None:
        return sender_of(self.instance, self.wanted, self.endpoint)

    @property
    def status(self) -> str:
        if self.silent_since_s is not None:
            return "UNHEALTHY"
        return "HEALTHY" if self.admin == "ACTIVE" else "DRAINING"


def sender_of(instance: str, wanted: str, endpoint: str) -> Sender | None:
    if instance:
        return (instance,)
    return (wanted, endpoint) if wanted else None


class Naive:
    """The workers by id, and what is remembered of those that left."""

    def __init__(self, timeout_s: float, retention_s: float) -> None:
        self.timeout_s = timeout_s
        self.retention_s = retention_s
        self.workers: dict[str, NaiveWorker] = {}
        self.floor = 0
        self.given_last: dict[Sender, str] = {}
        self.suffixes: list[tuple[str, int]] = []  # (base, number), while the base is held

    def due_s(self, worker: NaiveWorker) -> float:
        if worker.silent_since_s is not None:
            return worker.silent_since_s + self.retention_s
        return max(worker.heard_s, worker.grace_s) + self.timeout_s

    def next_s(self) -> float:
        return min((self.due_s(worker) for worker in self.workers.values()), default=math.inf)

    def pass_time(self, now_s: float) -> None:
        for worker in self.workers.values():
            if worker.silent_since_s is None and self.due_s(worker) <= now_s:
                worker.silent_since_s = self.due_s(worker)
        for worker_id in list(self.workers):
            worker = self.workers[worker_id]
            if worker.silent_since_s is not None and self.due_s(worker) <= now_s:
                self.leave(worker_id)

    def leave(self, worker_id: str) -> None:
        self.floor = max(self.floor, self.workers.pop(worker_id).incarnation)
        self.suffixes = [each for each in self.suffixes if each[0] != worker_id]

    def whose(self, command: Register) -> tuple[str, str]:
        """The id that `command` should get, and how."""
        me = sender_of(command.instance_id, command.worker_id, command.endpoint)
        for worker_id, worker in self.workers.items():
            mine = me is not None and worker.sender == me and self.given_last.get(me) == worker_id
            if mine and command.worker_id in ("", worker_id, worker.wanted):
                return worker_id, "again"
        wanted = command.worker_id or command.generated_id
        if wanted not in self.workers:
            return wanted, "new"
        holder = self.workers[wanted]
        by_instance = bool(holder.instance and command.instance_id)
        if holder.instance == command.instance_id if by_instance else holder.endpoint == command.endpoint:
            return wanted, "again"
        if holder.status == "UNHEALTHY":
            return wanted, "takeover"
        number = 1 + max((each for base, each in self.suffixes if base == wanted), default=0)
        while variant(wanted, number) in self.workers:
            number += 1
        return variant(wanted, number), "renamed"

    def register(self, command: Register, now_s: float) -> None:
        worker_id, how = self.whose(command)
        before = self.workers.get(worker_id)
        wanted = command.worker_id
        if how == "again" and before is not None and wanted in ("", worker_id):
            wanted = before.wanted or wanted
        self.workers[worker_id] = worker = NaiveWorker(
            endpoint=command.endpoint,
            instance=command.instance_id,
            wanted=wanted,
            incarnation=max(before.incarnation if before else 0, self.floor) + 1,
            heard_s=now_s,
            resources=command.resources,
            admin=before.admin if before else "ACTIVE",
            admin_reason=before.admin_reason if before else "",
        )
        self.book(worker_id, worker)

    def book(self, worker_id: str, worker: NaiveWorker) -> None:
        if worker.sender is not None:
            self.given_last[worker.sender] = worker_id
        for number in range(1, 1000):
            if worker.wanted in self.workers and worker_id == variant(worker.wanted, number):
                self.suffixes.append((worker.wanted, number))


def variant(base: str, number: int) -> WorkerId:
    suffix = f"-{number}"
    return WorkerId(base[: 128 - len(suffix)] + suffix)
