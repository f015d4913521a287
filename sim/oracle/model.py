"""The oracle's model of membership: the state that has to follow from the messages that the service took.

It is naive on purpose, and shares nothing with `minicloud.core` but the enums. Times are those of the control
plane's own monotonic clock. Other modules compare it with the production code.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from enum import IntEnum, auto
from typing import Any

from minicloud.core.model import Admin, Health, Status
from minicloud.store.port import Snapshot
from sim.oracle.ledger import Event, Ledger

# A heartbeat so many behind the last one counted is answered with an order to register.
_FAR_BEHIND = 10


class Judgement(IntEnum):
    """The right outcome of a message addressed to a member. An IntEnum, as others hash in Python, which is
    slow."""

    ACCEPTED = auto()
    STALE = auto()  # overtaken by a later one of the same worker
    DUPLICATE = auto()  # of the last one counted
    FENCED = auto()  # of another incarnation
    UNKNOWN = auto()  # of an id that is not registered


class Member:
    """One registered worker.

    `accepted_s` is when it was heard last: its last accepted heartbeat, its registration, or the control
    plane's start. `ends_s` is when its lease ends.
    """

    __slots__ = (
        "accepted_s",
        "admin",
        "announced_leaving",
        "endpoint",
        "ends_s",
        "healthy",
        "incarnation",
        "instance_id",
        "leaving",
        "recent",
        "resources",
        "restored",
        "sequence",
        "unhealthy_since_s",
        "wanted_id",
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
        self.wanted_id = ""
        self.ends_s = 0.0
        self.healthy = True
        self.leaving = False  # as it is shown
        self.announced_leaving = False  # in a heartbeat that counts
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
        offered = self.admin is Admin.ACTIVE and not self.leaving
        return Status.HEALTHY if offered else Status.DRAINING

    @property
    def machine(self) -> str:
        """The name of the node it runs on."""
        return self.endpoint.partition(":")[0]


class Gone:
    """A worker that departed and has to be remembered. `since_s` is None if it departed before the start."""

    __slots__ = ("instance_id", "since_s", "wanted_id")

    def __init__(self, instance_id: str, wanted_id: str, since_s: float | None) -> None:
        self.instance_id = instance_id
        self.wanted_id = wanted_id
        self.since_s = since_s


class Model:
    """Membership as it has to be.

    `leases` are those of healthy members, `graces` those of healthy members that have not been heard since
    the start: when each ends, earliest first.
    """

    def __init__(self, timeout_s: float, retention_s: float, ledger: Ledger) -> None:
        self.timeout_s = timeout_s
        self.retention_s = retention_s
        self.members: dict[str, Member] = {}
        self.gone: dict[str, Gone] = {}
        self.leases: OrderedDict[str, float] = OrderedDict()
        self.graces: OrderedDict[str, float] = OrderedDict()
        # What operators did to each id, with the number of the entry: a crash may undo the last ones.
        self._administered: dict[str, list[tuple[int, Admin]]] = {}
        self.counts = dict.fromkeys(Status, 0)
        self._ledger = ledger

    def status_of(self, worker_id: str) -> Status:
        """The status of a worker; OFFLINE if it is not registered."""
        member = self.members.get(worker_id)
        return member.status if member is not None else Status.OFFLINE

    def restart(self, kept: Snapshot, now_s: float) -> None:
        """Load `kept`, from the disk on which the control plane has started.

        A worker that was heard in the run before has a full grace. Each earlier run in which it was not heard
        has used up as much of the grace as that run listened.
        """
        self.members.clear()
        self.gone.clear()
        self.leases.clear()
        self.graces.clear()
        self.counts = dict.fromkeys(Status, 0)
        for worker_id, changes in list(self._administered.items()):
            self._administered[worker_id] = [each for each in changes if each[0] <= kept.last_event_id]
        told_s = kept.runs[-1].heartbeat_interval_ms / 1000 if kept.runs else 0.0
        grace_s = max(self.timeout_s, 2 * told_s)
        restored = []
        for stored in kept.workers:
            worker_id = str(stored.worker_id)
            if stored.departure:
                self.gone[worker_id] = Gone(stored.instance_id, stored.wanted_id, None)
                continue
            member = Member(
                worker_id,
                stored.incarnation,
                stored.instance_id,
                stored.endpoint,
                now_s,
                self._ledger.recent(worker_id),
            )
            silent_ms = sum(run.listened_ms for run in kept.runs if run.number > stored.heard_run)
            member.ends_s = now_s + max(0.0, grace_s - silent_ms / 1000)
            member.wanted_id = stored.wanted_id
            member.restored = True
            member.healthy = stored.health is Health.HEALTHY
            member.leaving = member.announced_leaving = stored.leaving_since_ms > 0
            member.admin = self.admin_of(worker_id)
            member.resources = stored.resources
            restored.append(member)
        for member in sorted(restored, key=lambda member: member.ends_s):
            self.members[member.worker_id] = member
            self.counts[member.status] += 1
            if member.healthy:
                self.graces[member.worker_id] = member.ends_s

    def postpone(self, by_s: float) -> None:
        """Move every deadline by `by_s`, for which the control plane was stalled."""
        for ends in (self.leases, self.graces):
            for worker_id in ends:
                ends[worker_id] += by_s
                self.members[worker_id].ends_s += by_s
        for member in self.members.values():
            if member.unhealthy_since_s is not None:
                member.unhealthy_since_s += by_s
        for gone in self.gone.values():
            if gone.since_s is not None:
                gone.since_s += by_s

    def admin_of(self, worker_id: str) -> Admin:
        """The admin state that operators gave that id last, registered or not."""
        changes = self._administered.get(worker_id)
        return changes[-1][1] if changes else Admin.ACTIVE

    def held(self) -> Iterator[str]:
        """The ids that are not registered and that operators have taken out."""
        for worker_id in self._administered:
            if worker_id not in self.members and self.admin_of(worker_id) is not Admin.ACTIVE:
                yield worker_id

    def remembered(self, instance_id: str, wanted_id: str, now_s: float) -> list[str]:
        """The ids that installation `instance_id` departed from and has to get back when it asks for
        `wanted_id`, which may be empty; none while it is registered."""
        if not self.gone or any(member.instance_id == instance_id for member in self.members.values()):
            return []
        return [
            worker_id
            for worker_id, gone in self.gone.items()
            if gone.instance_id == instance_id
            and wanted_id in ("", worker_id, gone.wanted_id)
            and gone.since_s is not None
            and now_s < gone.since_s + self.retention_s
        ]

    def register(self, worker_id: str, incarnation: int, message: Any, now_s: float) -> Member:
        """Give `worker_id` to the sender of `message`. The admin state of the id stays."""
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
        member.wanted_id = message.worker_id
        member.admin = self.admin_of(worker_id)
        if before is not None:
            if message.worker_id == worker_id:
                member.wanted_id = before.wanted_id
            self._take(self.members.pop(worker_id))
        elif (gone := self.gone.pop(worker_id, None)) is not None and gone.instance_id == message.instance_id:
            member.wanted_id = gone.wanted_id
        member.ends_s = now_s + self.timeout_s
        self._put(member)
        return member

    def judge(self, worker_id: str, incarnation: int, sequence: int = 0) -> Judgement:
        """The right outcome of a message. Changes nothing."""
        member = self.members.get(worker_id)
        if member is None:
            return Judgement.UNKNOWN
        if incarnation and incarnation != member.incarnation:
            return Judgement.FENCED
        if incarnation and 0 < sequence < member.sequence - _FAR_BEHIND:
            return Judgement.FENCED  # somebody else moved the sequence: the worker has to register again
        if sequence and sequence <= member.sequence:
            return Judgement.DUPLICATE if sequence == member.sequence else Judgement.STALE
        return Judgement.ACCEPTED

    def accept(self, member: Member, message: Any, now_s: float) -> None:
        """Count a heartbeat of `member`. An unhealthy member recovers by `recover`."""
        member.accepted_s = now_s
        member.ends_s = now_s + self.timeout_s
        if member.restored:
            member.restored = False
            self.graces.pop(member.worker_id, None)
        if message.status_metadata.get("state") == "leaving":
            member.announced_leaving = True
        if message.sequence and message.incarnation:
            member.sequence = message.sequence
        if message.current_resources is not None:
            member.resources = message.current_resources
        if member.healthy:
            self.leases[member.worker_id] = member.ends_s
            self.leases.move_to_end(member.worker_id)

    def announce_leaving(self, member: Member) -> None:
        """Note that `member` has announced its shutdown."""
        self.counts[member.status] -= 1
        member.leaving = True
        self.counts[member.status] += 1

    def has_due(self, now_s: float) -> bool:
        """True if any lease has ended by `now_s`."""
        for ends in (self.leases, self.graces):
            for ends_s in ends.values():  # only the first: they are in the order of time
                if ends_s <= now_s:
                    return True
                break
        return False

    def due(self, now_s: float) -> list[str]:
        """The workers whose leases have ended by `now_s`; a lease that ends now has. Costs O(found)."""
        found = []
        for ends in (self.leases, self.graces):
            for worker_id, ends_s in ends.items():
                if ends_s > now_s:
                    break
                found.append(worker_id)
        return found

    def overdue_since_s(self, worker_id: str, now_s: float) -> float | None:
        """When the lease of `worker_id` ended, if it has by `now_s`; None if asked again."""
        for ends in (self.leases, self.graces):
            if ends.get(worker_id, now_s + 1.0) <= now_s:
                return ends.pop(worker_id)
        return None

    def expire(self, member: Member) -> None:
        """Make `member` unhealthy from the end of its lease."""
        self._take(member)
        member.healthy = False
        member.unhealthy_since_s = member.ends_s
        self._put(member)

    def recover(self, member: Member) -> None:
        """Make `member`, of which a heartbeat was accepted, healthy again."""
        self._take(member)
        member.healthy = True
        self._put(member)

    def administer(self, worker_id: str, admin: Admin, event_id: int) -> None:
        """Set the admin state of an id, registered or not, as an operator did in entry `event_id`."""
        self._administered.setdefault(worker_id, []).append((event_id, admin))
        member = self.members.get(worker_id)
        if member is not None:
            self.counts[member.status] -= 1
            member.admin = admin
            self.counts[member.status] += 1

    def depart(self, member: Member, forgotten: bool, now_s: float, event_id: int) -> None:
        """Remove `member`. A drain that has ended leaves a cordon."""
        worker_id = member.worker_id
        if member.admin is Admin.DRAINING:
            self.administer(worker_id, Admin.CORDONED, event_id)
        self._take(self.members.pop(worker_id))
        if not forgotten:
            self.gone[worker_id] = Gone(member.instance_id, member.wanted_id, now_s)

    def _put(self, member: Member) -> None:
        self.members[member.worker_id] = member
        self.counts[member.status] += 1
        if member.healthy:
            self.leases[member.worker_id] = member.ends_s
            self.leases.move_to_end(member.worker_id)

    def _take(self, member: Member) -> None:
        self.counts[member.status] -= 1
        self.leases.pop(member.worker_id, None)
        self.graces.pop(member.worker_id, None)
