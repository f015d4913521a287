"""Over a store that cannot write, leases go on, and refused changes have no effect (DESIGN 79)."""

from __future__ import annotations

from collections.abc import Awaitable
from random import Random

import pytest
import trio
from grpclib import GRPCError
from grpclib import Status as GrpcStatus
from trio.testing import MockClock

from minicloud.clock import SystemClock
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.service import WorkerManagementService, grpc_error
from minicloud.core.commands import Command, Cordon, Deregister, Drain, Register, Remove, Uncordon
from minicloud.core.errors import StoreUnavailableError, UnknownWorkerError
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import Status, WorkerId
from minicloud.core.registry import Registry
from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatRequest,
    RegisterWorkerRequest,
)
from tests.unit.control.gated_store import GatedStore

TIMEOUT_S = 120.0
FULL = "cannot write registry.db: disk full"


class Plane:
    """A `Plane` has one worker, "w", registered before the store failed."""

    def __init__(self) -> None:
        self.store = GatedStore()
        self.membership = Membership(
            Registry(LivenessPolicy(heartbeat_timeout_s=TIMEOUT_S, retention_s=3600.0)),
            self.store,
            SystemClock(),
        )
        self.service = WorkerManagementService(self.membership, Metrics(), Random(1))
        self.membership.execute(Register("h:1", WorkerId("generated"), "w", "installation"))
        self.changes = len(self.store.changes)
        self.store.fault = FULL

    def status(self, worker_id: str = "w") -> Status | None:
        worker = self.membership.sweep_due().get(worker_id)
        return worker.status if worker is not None else None


@pytest.mark.parametrize(
    "command",
    [
        Register("h:2", WorkerId("generated"), "new", "other"),
        Register("h:1", WorkerId("generated"), "w", "installation"),
        Deregister("w"),
        Cordon("w"),
        Drain("w"),
        Remove("w"),
    ],
    ids=lambda command: type(command).__name__,
)
async def test_command_that_has_to_be_durable_is_refused_without_an_effect(command: Command) -> None:
    plane = Plane()
    before = plane.membership.sweep_due().get("w")
    assert before is not None
    incarnation = before.incarnation
    seen: list[MembershipEvent] = []
    plane.membership.subscribe(seen.append)
    with pytest.raises(StoreUnavailableError, match="disk full"):
        plane.membership.execute(command)
    assert [worker.worker_id for worker in plane.membership.sweep_due().workers()] == ["w"]
    after = plane.membership.sweep_due().get("w")
    assert after is not None
    assert (after.incarnation, after.status) == (incarnation, Status.HEALTHY)
    assert seen == []
    assert len(plane.store.changes) == plane.changes
    plane.store.fault = ""
    plane.membership.execute(command)
    assert len(plane.store.changes) > plane.changes


async def test_command_that_changes_nothing_or_makes_no_sense_is_answered_as_ever() -> None:
    plane = Plane()
    assert plane.membership.execute(Uncordon("w")) == ()
    with pytest.raises(UnknownWorkerError):
        plane.membership.execute(Cordon("nobody"))


async def test_workers_that_live_stay_healthy_and_those_that_die_do_not(autojump_clock: MockClock) -> None:
    plane = Plane()
    plane.store.fault = ""
    plane.membership.execute(Register("h:2", WorkerId("generated"), "dies", "other"))
    plane.store.fault = FULL
    for sequence in range(1, 10):
        await trio.sleep(TIMEOUT_S / 3)
        answer = await plane.service.heartbeat(HeartbeatRequest(worker_id="w", sequence=sequence))
        assert answer.acknowledged
    assert (plane.status("w"), plane.status("dies")) == (Status.HEALTHY, Status.UNHEALTHY)
    await trio.sleep(3600.0)
    assert plane.status("dies") is None  # forgotten


async def test_worker_that_recovers_is_acknowledged(autojump_clock: MockClock) -> None:
    plane = Plane()
    await trio.sleep(TIMEOUT_S + 1)
    assert plane.status() is Status.UNHEALTHY
    answer = await plane.service.heartbeat(HeartbeatRequest(worker_id="w", sequence=1))
    assert answer.acknowledged
    assert plane.status() is Status.HEALTHY


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_registration_and_departure_are_answered_with_unavailable(when: str) -> None:
    plane = Plane()
    fault, plane.store.fault = plane.store.fault, ""
    plane.store.gate = trio.Event()
    if when == "before":
        plane.store.fault = fault
    refusals: list[GRPCError | None] = []

    async def refused(call: Awaitable[object]) -> None:
        with pytest.raises(StoreUnavailableError) as caught:
            await call
        refusals.append(grpc_error(caught.value))

    async with trio.open_nursery() as nursery:
        register = RegisterWorkerRequest(worker_id="new", endpoint="h:2")
        nursery.start_soon(refused, plane.service.register_worker(register))
        nursery.start_soon(refused, plane.service.deregister_worker(DeregisterWorkerRequest(worker_id="w")))
        await trio.testing.wait_all_tasks_blocked()
        plane.store.fault = fault  # the waiting calls get the error
        plane.store.gate.set()
    assert [(error.status, error.message) for error in refusals if error is not None] == [
        (GrpcStatus.UNAVAILABLE, FULL)
    ] * 2
    # The change that was under way when the write failed is in memory, and may become durable.
    ids = [worker.worker_id for worker in plane.membership.sweep_due().workers()]
    assert ids == (["w"] if when == "before" else ["new"])
