"""The check of each change of membership, as subscribers receive it, against the model (promises 1 to 6,
16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicloud.core.model import Admin
from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.execution import DeregisterWorkerRequest, RegisterWorkerRequest
from sim.oracle.durability import Durability
from sim.oracle.ledger import Ledger
from sim.oracle.model import Judgement, Member, Model
from sim.oracle.step import Step
from sim.oracle.truth import Truth
from sim.verdict.promises import (
    COUNTS_ADD_UP,
    IDENTITY_RETURNS,
    IDS_UNIQUE,
    NO_EARLY_VERDICT,
    REGISTRATIONS_DURABLE,
    VERDICT_ON_TIME,
)

# Rounding apart, a verdict falls at the instant it is due. A microsecond is far above rounding, and far below
# anything that waits.
STEP_S = 1e-6

_ADMINS = {"cordoned": Admin.CORDONED, "uncordoned": Admin.ACTIVE, "draining": Admin.DRAINING}


class Entries:
    """Checks entries and updates the model.

    `awake_since_s`, by the control plane's clock, is when it started or was resumed last: no lease can be
    swept while it stands still. `removing` returns true while an operator removes workers.
    """

    def __init__(
        self,
        model: Model,
        step: Step,
        ledger: Ledger,
        durability: Durability,
        truth: Truth,
        retention_s: float,
        removing: Callable[[], bool],
    ) -> None:
        self.awake_since_s = 0.0
        self.counts: dict[tuple[str, str], int] = {}  # entries by kind and detail
        self._model = model
        self._step = step
        self._ledger = ledger
        self._durability = durability
        self._truth = truth
        self._retention_s = retention_s
        self._removing = removing
        self._changes: dict[str, Callable[[MembershipEvent, Member, float], None]] = {
            "unhealthy": self._unhealthy,
            "recovered": self._recovered,
            "departed": self._departed,
            "leaving": self._leaving,
        }

    def restart(self, now_s: float) -> None:
        """Start over for a new control plane."""
        self.awake_since_s = now_s
        self.counts.clear()

    def changed(self, entry: MembershipEvent, now_s: float) -> None:
        """Check the change in `entry`, which was made at `now_s`."""
        worker_id = str(entry.worker_id)
        of_sweep = entry.kind == "unhealthy" or (entry.kind == "departed" and entry.detail == "forgotten")
        if self._step.unsettled and not of_sweep:
            self._step.settle_sweep()
        self.counts[entry.kind, entry.detail] = self.counts.get((entry.kind, entry.detail), 0) + 1
        self._ledger.note(worker_id, entry.kind, entry.detail, entry.incarnation)
        before = self._model.status_of(worker_id)
        if entry.kind == "registered":
            self._registered(entry, now_s)
        elif entry.kind in _ADMINS:
            self._model.administer(worker_id, _ADMINS[entry.kind], entry.event_id)
        elif (member := self._model.members.get(worker_id)) is not None:
            self._changes[entry.kind](entry, member, now_s)
        after = self._model.status_of(worker_id)
        self._ledger.require(
            COUNTS_ADD_UP,
            entry.old_status is before and entry.new_status is after,
            worker_id,
            f"{worker_id} is shown to go from {entry.old_status} to {entry.new_status} ({entry.kind}); it "
            f"went from {before} to {after}",
        )

    def _registered(self, entry: MembershipEvent, now_s: float) -> None:
        message: Any = self._step.message
        worker_id = str(entry.worker_id)
        assert isinstance(message, RegisterWorkerRequest), "only a message registers anybody"
        occupant = self._model.members.get(worker_id)
        self._ledger.require(
            IDS_UNIQUE,
            occupant is None
            or not occupant.healthy
            or occupant.instance_id == message.instance_id
            or occupant.endpoint == message.endpoint,
            worker_id,
            f"{worker_id}, which {occupant.instance_id if occupant else ''} holds and is HEALTHY, was given "
            f"to {message.instance_id}",
        )
        remembered = self._model.remembered(message.instance_id, message.worker_id, now_s)
        self._ledger.require(
            IDENTITY_RETURNS,
            not remembered or worker_id in remembered,
            worker_id,
            f"{message.instance_id}, which departed from {', '.join(remembered)}, was given {worker_id}",
        )
        self._durability.registered(worker_id, entry.incarnation)
        self._truth.recovered(self._model.register(worker_id, entry.incarnation, message, now_s))

    def _unhealthy(self, entry: MembershipEvent, member: Member, now_s: float) -> None:
        if not member.healthy:
            return  # the comparison of statuses below reports it
        due_s = member.ends_s
        self._ledger.require(
            NO_EARLY_VERDICT,
            now_s >= due_s - STEP_S,
            member.worker_id,
            f"{member.worker_id} was declared UNHEALTHY {due_s - now_s:.6f} s early, "
            f"{now_s - member.accepted_s:.6f} s after "
            + ("the control plane's start" if member.restored else "its last accepted heartbeat"),
        )
        latest_s = max(due_s, self.awake_since_s)
        self._ledger.require(
            VERDICT_ON_TIME,
            now_s <= latest_s + STEP_S,
            member.worker_id,
            f"{member.worker_id} was declared UNHEALTHY {now_s - latest_s:.6f} s late",
        )
        self._model.expire(member)
        self._truth.declared_unhealthy(member)

    def _recovered(self, entry: MembershipEvent, member: Member, now_s: float) -> None:
        self._ledger.require(
            VERDICT_ON_TIME,
            self._step.recovering is member,
            member.worker_id,
            f"{member.worker_id} is HEALTHY again, and no heartbeat of it was accepted",
        )
        self._step.recovering = None
        if not member.healthy:
            self._model.recover(member)
            self._truth.recovered(member)

    def _departed(self, entry: MembershipEvent, member: Member, now_s: float) -> None:
        message: Any = self._step.message
        match entry.detail:
            case "forgotten":
                since_s = member.unhealthy_since_s
                # For one that was UNHEALTHY before the start, the wall clock decides.
                granted = not member.healthy and (
                    since_s is None or now_s >= since_s + self._retention_s - STEP_S
                )
            case "removed":
                granted = self._removing()
            case "replaced":
                granted = isinstance(message, RegisterWorkerRequest) and (
                    (message.instance_id, message.endpoint) == (member.instance_id, member.endpoint)
                )
            case _:
                granted = (
                    isinstance(message, DeregisterWorkerRequest)
                    and message.worker_id == member.worker_id
                    and self._step.judgement is Judgement.ACCEPTED
                )
        self._ledger.require(
            REGISTRATIONS_DURABLE,
            granted,
            member.worker_id,
            f"{member.worker_id} is no longer registered ({entry.detail}), for no reason",
        )
        self._durability.departed(member.worker_id)
        self._model.depart(member, entry.detail == "forgotten", now_s, entry.event_id)

    def _leaving(self, entry: MembershipEvent, member: Member, now_s: float) -> None:
        self._model.announce_leaving(member)
