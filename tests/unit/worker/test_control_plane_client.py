"""The client runs over the real channel and server, joined in memory: this covers the messages and the
failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from random import Random

import pytest
import trio
from grpclib import GRPCError
from grpclib import Status as GrpcStatus
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from minicloud.clock import SystemClock
from minicloud.core.commands import Deregister, Heartbeat
from minicloud.core.model import Resources, Status
from minicloud.net.backoff import Backoff
from minicloud.request_id import RequestScope, current_request_id
from minicloud.rpc.channel import Channel
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.server import Server
from minicloud.wire.gen.minicloud.common import StandardResponse, WorkerStatus
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    DeregisterWorkerResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    WorkerManagementServiceBase,
    WorkerManagementServiceStub,
)
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)
from minicloud.worker.control_plane_client import ControlPlaneClient, Upstream
from minicloud.worker.leave import leave
from tests.unit.worker.fakes import events

RESOURCES = Resources(4, 1024, 4096, 2, 0.5, 0.25, 256, 100)


class ScriptedService(WorkerManagementServiceBase):
    """A `ScriptedService` gives the answers that a test sets, and remembers each request and its
    request id."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.request_ids: list[str] = []
        self.before: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.register_answer = RegisterWorkerResponse()
        self.heartbeat_answer = HeartbeatResponse()
        self.deregister_answer = DeregisterWorkerResponse()

    async def register_worker(self, message: RegisterWorkerRequest) -> RegisterWorkerResponse:
        await self._note(message)
        return self.register_answer

    async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
        await self._note(message)
        return self.heartbeat_answer

    async def deregister_worker(self, message: DeregisterWorkerRequest) -> DeregisterWorkerResponse:
        await self._note(message)
        return self.deregister_answer

    async def list_workers(self, message: ListWorkersRequest) -> ListWorkersResponse:
        await self._note(message)
        return ListWorkersResponse()

    async def _note(self, message: object) -> None:
        self.asked.append(message)
        self.request_ids.append(current_request_id())
        await self.before()


async def hang() -> None:
    await trio.sleep_forever()


async def fail() -> None:
    raise GRPCError(GrpcStatus.RESOURCE_EXHAUSTED, "too much to do")


class WallClock(SystemClock):
    def wall_s(self) -> float:
        return 1_700_000_000.25


@asynccontextmanager
async def client_of(*services: ScriptedService | None) -> AsyncIterator[ControlPlaneClient]:
    """Return a client of control planes cp0, cp1, …; None is one that cannot be connected to."""
    async with trio.open_nursery() as nursery:
        stubs = []
        for number, service in enumerate(services):
            channel = Channel(nursery, [_connect(nursery, service)], random=Random(1))
            stubs.append((f"cp{number}", channel.stub(WorkerManagementServiceStub)))
        yield ControlPlaneClient(stubs, WallClock())
        nursery.cancel_scope.cancel()


def _connect(
    nursery: trio.Nursery, service: ScriptedService | None
) -> Callable[[], Awaitable[trio.abc.Stream]]:
    server = Server([service], random=Random(1)) if service is not None else None

    async def connect() -> trio.abc.Stream:
        if server is None:
            raise OSError("connection refused")
        ours, theirs = memory_stream_pair()
        nursery.start_soon(server.serve_connection, theirs)
        return ours

    return connect


async def test_registration_goes_over_the_wire_whole_and_so_does_its_answer() -> None:
    service = ScriptedService()
    service.register_answer = RegisterWorkerResponse(
        registered=True, assigned_worker_id="w-1", incarnation=7, heartbeat_interval_ms=2500
    )
    registration = RegistrationRequest("w", "10.0.0.7:9091", RESOURCES, {"zone": "b"}, "ab" * 16)
    async with client_of(service) as client:
        with RequestScope("0123456789abcdef"):
            answer = await client.register(registration, 5.0)
    assert answer == RegisterAnswer(True, "w-1", 7, 2.5)
    (asked,) = service.asked
    assert isinstance(asked, RegisterWorkerRequest)
    assert (asked.worker_id, asked.endpoint, asked.instance_id) == ("w", "10.0.0.7:9091", "ab" * 16)
    assert asked.metadata == {"zone": "b"}
    assert asked.resources is not None
    assert (asked.resources.cpu_cores, asked.resources.memory_used_mb) == (4, 256)
    assert service.request_ids == ["0123456789abcdef"]


async def test_registration_refused_is_an_answer_with_its_error() -> None:
    service = ScriptedService()
    service.register_answer = RegisterWorkerResponse(
        registered=False, response=StandardResponse(metadata={"error": "endpoint is missing"})
    )
    async with client_of(service) as client:
        answer = await client.register(RegistrationRequest("w", "x:1", RESOURCES), 5.0)
    assert answer == RegisterAnswer(False, error="endpoint is missing")


async def test_heartbeat_goes_over_the_wire_whole_and_so_does_its_answer() -> None:
    service = ScriptedService()
    service.heartbeat_answer = HeartbeatResponse(
        acknowledged=True,
        expected_status=WorkerStatus.DRAINING,
        instructions={"action": "drain", "reason": "x"},
        next_heartbeat_ms=15_000,
    )
    async with client_of(service) as client:
        answer = await client.heartbeat(Heartbeat("w", RESOURCES, 7, 42), 5.0)
    assert answer == HeartbeatAnswer(True, "drain", Status.DRAINING, 15.0)
    (asked,) = service.asked
    assert isinstance(asked, HeartbeatRequest)
    assert (asked.worker_id, asked.incarnation, asked.sequence) == ("w", 7, 42)
    assert asked.timestamp == datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)
    assert asked.current_resources is not None
    assert asked.current_resources.active_queries == 2


async def test_old_control_planes_empty_answers_are_read_as_zeros() -> None:
    async with client_of(ScriptedService()) as client:
        assert await client.heartbeat(Heartbeat("w", RESOURCES), 5.0) == HeartbeatAnswer(False)
        assert await client.register(RegistrationRequest("w", "x:1", RESOURCES), 5.0) == RegisterAnswer(False)
        assert not await client.deregister(Deregister("w"), 5.0)


async def test_status_of_a_later_version_is_read_as_none() -> None:
    service = ScriptedService()
    service.heartbeat_answer = HeartbeatResponse(acknowledged=True, expected_status=WorkerStatus(9))
    async with client_of(service) as client:
        assert (await client.heartbeat(Heartbeat("w"), 5.0)).expected_status is None


@pytest.mark.parametrize("known", [True, False])
async def test_deregistration_goes_over_the_wire_whole_and_so_does_its_answer(known: bool) -> None:
    service = ScriptedService()
    service.deregister_answer = DeregisterWorkerResponse(deregistered=known)
    async with client_of(service) as client:
        assert await client.deregister(Deregister("w", "SIGTERM", 7), 5.0) is known
    (asked,) = service.asked
    assert isinstance(asked, DeregisterWorkerRequest)
    assert (asked.worker_id, asked.reason, asked.incarnation) == ("w", "SIGTERM", 7)


async def test_call_to_none_but_failing_control_planes_names_each_failure(autojump_clock: MockClock) -> None:
    failing = ScriptedService()
    failing.before = fail
    async with client_of(None, failing) as client:
        with pytest.raises(ControlPlaneError) as caught:
            await client.heartbeat(Heartbeat("w"), 5.0)
    text = str(caught.value)
    assert "cp0: UNAVAILABLE: cannot connect: connection refused" in text
    assert "cp1: RESOURCE_EXHAUSTED: too much to do" in text
    assert "\n" not in text


async def test_call_unanswered_ends_with_its_timeout(autojump_clock: MockClock) -> None:
    silent = ScriptedService()
    silent.before = hang
    async with client_of(silent) as client:
        with pytest.raises(ControlPlaneError, match="cp0: DEADLINE_EXCEEDED"):
            await client.heartbeat(Heartbeat("w"), 5.0)
    assert trio.current_time() == pytest.approx(5.0)


async def test_call_to_several_unanswering_control_planes_still_ends_with_its_timeout(
    autojump_clock: MockClock,
) -> None:
    silent = [ScriptedService() for _ in range(3)]
    for service in silent:
        service.before = hang
    async with client_of(*silent) as client:
        with pytest.raises(ControlPlaneError):
            await client.heartbeat(Heartbeat("w"), 6.0)
    assert trio.current_time() == pytest.approx(6.0)
    assert [len(service.asked) for service in silent] == [1, 1, 1]


async def test_control_plane_that_answers_is_asked_first_from_then_on_and_the_others_as_named(
    autojump_clock: MockClock,
) -> None:
    silent, well, spare = ScriptedService(), ScriptedService(), ScriptedService()
    silent.before = hang
    async with client_of(silent, well, spare) as client:
        assert client.address == "cp0"
        await client.heartbeat(Heartbeat("w"), 6.0)
        assert client.address == "cp1"
        await client.heartbeat(Heartbeat("w"), 6.0)
        assert [len(service.asked) for service in (silent, well, spare)] == [1, 2, 0]
        well.before = fail
        await client.heartbeat(Heartbeat("w"), 6.0)
        assert client.address == "cp2"
        assert [len(service.asked) for service in (silent, well, spare)] == [2, 3, 1]
        spare.before = fail
        silent.before = trio.lowlevel.checkpoint
        await client.heartbeat(Heartbeat("w"), 6.0)
        assert client.address == "cp0"


async def slow() -> None:
    await trio.sleep(4)


async def moved(client: ControlPlaneClient, first: ScriptedService) -> None:
    """Give one slow answer of the first control plane, so that the second is in use."""
    first.before = slow
    await client.heartbeat(Heartbeat("w"), 6.0)
    assert client.away
    first.before = trio.lowlevel.checkpoint


async def test_control_plane_named_first_is_used_again_once_it_answers(autojump_clock: MockClock) -> None:
    first, second = ScriptedService(), ScriptedService()
    async with client_of(first, second) as client:
        with capture_logs() as logs:
            await moved(client, first)
            first.before = hang
            assert not await client.look_back(6.0)
            assert client.address == "cp1"
            first.before = trio.lowlevel.checkpoint
            assert await client.look_back(6.0)
        assert (client.address, client.away) == ("cp0", False)
        await client.heartbeat(Heartbeat("w"), 6.0)
    assert isinstance(first.asked[-1], HeartbeatRequest)
    changes = events(logs, "control_plane_changed")
    assert [(line["was"], line["control_plane"]) for line in changes] == [("cp0", "cp1"), ("cp1", "cp0")]


async def test_control_plane_too_slow_to_stay_with_is_not_gone_back_to(autojump_clock: MockClock) -> None:
    first, second = ScriptedService(), ScriptedService()
    async with client_of(first, second) as client:
        await moved(client, first)
        first.before = partial(trio.sleep, 2)  # a call has 3 s here, and so would succeed
        assert not await client.look_back(6.0)
        assert client.away


async def test_control_plane_that_is_lost_again_and_again_is_gone_back_to_ever_later(
    autojump_clock: MockClock,
) -> None:
    first, second = ScriptedService(), ScriptedService()
    waits_s = []
    async with client_of(first, second) as client:
        for _ in range(8):
            await moved(client, first)
            away_s = trio.current_time()
            for _ in range(700):
                if await client.look_back(6.0):
                    break
                await trio.sleep(1)
            waits_s.append(round(trio.current_time() - away_s))
        await trio.sleep(601)
        await moved(client, first)
        assert await client.look_back(6.0)  # a control plane that was kept for long is trusted again
    assert waits_s == [0, 30, 60, 120, 240, 480, 600, 600]


async def test_look_back_during_a_call_is_not_undone_by_its_answer(autojump_clock: MockClock) -> None:
    first, second = ScriptedService(), ScriptedService()
    async with client_of(first, second) as client:
        await moved(client, first)
        second.before = slow
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.heartbeat, Heartbeat("w"), 20.0)
            await trio.sleep(1)
            assert await client.look_back(6.0)
        assert not client.away


async def test_leave_of_another_control_plane_asks_that_one_alone() -> None:
    first, second = ScriptedService(), ScriptedService()
    async with client_of(first, second) as client:
        await client.leave_other("cp1", Deregister("w", "went back", 7), 5.0)
        (asked,) = second.asked
        assert isinstance(asked, DeregisterWorkerRequest)
        assert (asked.worker_id, asked.reason, asked.incarnation) == ("w", "went back", 7)
        assert first.asked == []
        second.before = fail
        with pytest.raises(ControlPlaneError, match="cp1: RESOURCE_EXHAUSTED"):
            await client.leave_other("cp1", Deregister("w", "went back", 7), 5.0)


async def test_leave_unanswered_by_the_control_plane_in_use_is_not_answered_by_one_that_never_knew_the_worker(
    autojump_clock: MockClock,
) -> None:
    first, second = ScriptedService(), ScriptedService()
    first.before = hang
    async with client_of(first, second) as client:
        with pytest.raises(ControlPlaneError, match="cp0: no answer"):
            await client.deregister(Deregister("w"), 5.0)
        second.deregister_answer = DeregisterWorkerResponse(deregistered=True)  # both have one registry
        assert await client.deregister(Deregister("w"), 5.0)


@pytest.mark.parametrize("leaving", [False, True])
async def test_heartbeat_of_what_is_leaving_says_so_in_its_status_metadata(leaving: bool) -> None:
    service = ScriptedService()
    async with client_of(service) as client:
        await client.heartbeat(Heartbeat("w", RESOURCES, 7, 42, leaving), 5.0)
    (asked,) = service.asked
    assert isinstance(asked, HeartbeatRequest)
    assert asked.status_metadata == ({"state": "leaving"} if leaving else {})


async def test_renew_has_every_control_plane_called_on_a_new_connection() -> None:
    service = ScriptedService()
    async with trio.open_nursery() as nursery:
        server = Server([service], random=Random(1))
        connections = 0

        async def connect() -> trio.abc.Stream:
            nonlocal connections
            connections += 1
            ours, theirs = memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            return ours

        channel = Channel(nursery, [connect], random=Random(1))
        client = ControlPlaneClient(
            [Upstream("cp", channel.stub(WorkerManagementServiceStub), channel)], SystemClock()
        )
        for _ in range(2):
            await client.heartbeat(Heartbeat("w"), 5.0)
        assert connections == 1
        client.renew()
        await client.heartbeat(Heartbeat("w"), 5.0)
        assert connections == 2
        nursery.cancel_scope.cancel()


async def test_leave_during_the_channels_backoff_reaches_the_control_plane_that_is_back(
    autojump_clock: MockClock,
) -> None:
    service = ScriptedService()
    service.deregister_answer = DeregisterWorkerResponse(deregistered=True)
    back = False
    async with trio.open_nursery() as nursery:
        reach = _connect(nursery, service)

        async def connect() -> trio.abc.Stream:
            if not back:
                raise ConnectionRefusedError("connection refused")
            return await reach()

        config = ChannelConfig(backoff=Backoff(initial_s=3600, max_s=3600))
        channel = Channel(nursery, [connect], random=Random(1), config=config)
        client = ControlPlaneClient(
            [Upstream("cp", channel.stub(WorkerManagementServiceStub), channel)], SystemClock()
        )
        with pytest.raises(ControlPlaneError):
            await client.heartbeat(Heartbeat("w"), 10.0)
        back = True
        began_s = trio.current_time()
        problem = await leave(client, Deregister("w"), began_s + 5, SystemClock(), Random(1))
        assert problem == ""
        assert trio.current_time() - began_s <= 2.5
        nursery.cancel_scope.cancel()
    assert [type(each) for each in service.asked] == [DeregisterWorkerRequest]
