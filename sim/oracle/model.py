"""The oracle's own idea of membership: what it has to be, given the messages the service took, and when.

Naive on purpose: it shares nothing with `minicloud.core` but the words. Times are those of the control
plane's own monotonic clock. Knows no promises; who compares it with the production code does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from enum import IntEnum, auto
from typing import Any

from minicloud.core.model import Admin, Health, Status
from minicloud.store.port import StoredWorker
from sim.oracle.ledger import Event, Ledger


class Verdict(IntEnum):
    """What has to become of a message addressed to a member. (Other enums hash in Python, which shows.)"""

    ACCEPTED = auto()
    STALE = auto()  # overtaken by a later one of the same worker
    DUPLICATE = auto()  # of the last one counted
    FENCED = auto()  # of another incarnation
    UNKNOWN = auto()  # of nobody registered


class Member:
    """One registered worker. `accepted_s` is when its lease began: its last accepted heartbeat, its
    registration, or the control plane's start."""

    __slots__ = (
        "accepted_s",
        "admin",
        "endpoint",
        "healthy",
        "incarnation",
        "instance_id",
        "recent",
        "resources",
        "restored",
        "sequence",
        "unhealthy_since_s",
        "worker_id",
    )

    def __init__(
        self,
        worker_id: str,
        incarnation: int,
        instance_id: str,
        endpoint: str,
        accepted_s: float,
        recent: deque[Event],
    ) -> None:
        self.worker_id = worker_id
        self.incarnation = incarnation
        self.instance_id = instance_id
        self.endpoint = endpoint
        self.accepted_s = accepted_s
        self.healthy = True
        self.admin = Admin.ACTIVE
        self.sequence = 0
        self.resources: Any = None  # as last counted, in a message or as it was kept
        self.restored = False  # and not heard of since
        self.unhealthy_since_s: float | None = None  # None too where it was so before the start
        self.recent = recent

    @property
    def status(self) -> Status:
        if not self.healthy:
            return Status.UNHEALTHY
        return Status.HEALTHY if self.admin is Admin.ACTIVE else Status.DRAINING

    @property
    def machine(self) -> str:
        """The name of the node it runs on."""
        return self.endpoint.partition(":")[0]


class Model:
    """Membership as it has to be. `leases` are those of healthy members: when each ends, earliest first."""

    def __init__(self, timeout_s: float, ledger: Ledger) -> None:
        self.timeout_s = timeout_s
        self.members: dict[str, Member] = {}
        self.leases: OrderedDict[str, float] = OrderedDict()
        self.counts = dict.fromkeys(Status, 0)
        self._ledger = ledger

    def status_of(self, worker_id: str) -> Status:
        """OFFLINE for one that is not registered."""
        member = self.members.get(worker_id)
        return member.status if member is not None else Status.OFFLINE

    def restart(self, kept: Sequence[StoredWorker], now_s: float) -> None:
        """The control plane has started, over a disk that held `kept`: every lease starts anew."""
        self.members.clear()
        self.leases.clear()
        self.counts = dict.fromkeys(Status, 0)
        for stored in kept:
            worker_id = str(stored.worker_id)
            member = Member(
                worker_id,
                stored.incarnation,
                stored.instance_id,
                stored.endpoint,
                now_s,
                self._ledger.recent(worker_id),
            )
            member.restored = True
            member.healthy = stored.health is Health.HEALTHY
            member.admin = stored.admin
            member.resources = stored.resources
            self._put(member)

    def register(self, worker_id: str, incarnation: int, message: Any, now_s: float) -> Member:
        """`worker_id` was given to the sender of `message`. What operators said of the id stays."""
        before = self.members.get(worker_id)
        member = Member(
            worker_id,
            incarnation,
            message.instance_id,
            message.endpoint,
            now_s,
            self._ledger.recent(worker_id),
        )
        member.resources = message.resources
        if before is not None:
            member.admin = before.admin
            self.depart(worker_id)
        self._put(member)
        return member

    def judge(self, worker_id: str, incarnation: int, sequence: int = 0) -> Verdict:
        """What has to become of a message. Changes nothing."""
        member = self.members.get(worker_id)
        if member is None:
            return Verdict.UNKNOWN
        if incarnation and incarnation != member.incarnation:
            return Verdict.FENCED
        if sequence and sequence <= member.sequence:
            return Verdict.DUPLICATE if sequence == member.sequence else Verdict.STALE
        return Verdict.ACCEPTED

    def accept(self, member: Member, message: Any, now_s: float) -> None:
        """A heartbeat of `member` counts. Whether an unhealthy one recovers is `recover`'s."""
        member.accepted_s = now_s
        member.restored = False
        if message.sequence:
            member.sequence = message.sequence
        if message.current_resources is not None:
            member.resources = message.current_resources
        if member.healthy:
            self.leases[member.worker_id] = now_s + self.timeout_s
            self.leases.move_to_end(member.worker_id)

    def due(self, now_s: float) -> list[str]:
        """Whose leases have ended by `now_s`; one that ends now has. Costs O(found)."""
        found = []
        for worker_id, ends_s in self.leases.items():
            if ends_s > now_s:
                break
            found.append(worker_id)
        return found

    def expire(self, member: Member) -> None:
        """`member` is unhealthy, since its lease ended."""
        self._take(member)
        member.healthy = False
        member.unhealthy_since_s = member.accepted_s + self.timeout_s
        self._put(member)

    def recover(self, member: Member) -> None:
        """`member`, of which a heartbeat has been accepted, is healthy again."""
        self._take(member)
        member.healthy = True
        self._put(member)

    def administer(self, member: Member, admin: Admin) -> None:
        """An operator has said something of `member`."""
        self.counts[member.status] -= 1
        member.admin = admin
        self.counts[member.status] += 1

    def depart(self, worker_id: str) -> None:
        """`worker_id` is nobody's any more."""
        self._take(self.members.pop(worker_id))

    def _put(self, member: Member) -> None:
        self.members[member.worker_id] = member
        self.counts[member.status] += 1
        if member.healthy:
            self.leases[member.worker_id] = member.accepted_s + self.timeout_s
            self.leases.move_to_end(member.worker_id)

    def _take(self, member: Member) -> None:
        self.counts[member.status] -= 1
        self.leases.pop(member.worker_id, None)
