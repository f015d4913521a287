"""The production service and the production agent work with grpcio and Google's messages at the other end.

Each is also tested with an old peer, whose messages lack the fields added to the contract since.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
import pytest
import trio

from minicloud.clock import SystemClock
from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.core.commands import Cordon, Drain, Uncordon
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import Resources
from minicloud.store.memory import MemoryStore
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceStub
from minicloud.worker.agent import DRAINED, Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.control_plane_client import ControlPlaneClient
from minicloud.worker.queries import QueryTracker
from tests.interop import theirs
from tests.interop.ours import our_channel, our_server
from tests.interop.stock_messages import METHODS, SERVICE, Messages, call
from tests.interop.theirs import WAIT_S, Context, grpcio_channel, grpcio_server, in_thread

HEALTHY, UNHEALTHY, DRAINING = 0, 1, 2
SUCCESS, FAILED = 0, 1


# Our control plane, called by grpcio


class Caller:
    """A `Caller` calls a control plane with grpcio."""

    def __init__(self, channel: Any, messages: Messages) -> None:
        self.channel = channel
        self.messages = messages

    async def __call__(self, method: str, **fields: Any) -> Any:
        return await in_thread(call, self.channel, self.messages, method, **fields)

    async def ids(self, **fields: Any) -> list[str]:
        return [worker.worker_id for worker in (await self("ListWorkers", **fields)).workers]


@asynccontextmanager
async def control_plane(*, old: bool = False) -> AsyncIterator[tuple[ControlPlane, Caller]]:
    timers = LivenessPolicy(heartbeat_interval_s=7.0)
    plane = ControlPlane(timers, MemoryStore(), Metrics(), SystemClock(), Random(1))
    async with our_server(services=[plane.service]) as up:
        with grpcio_channel(up.port) as channel:
            yield plane, Caller(channel, Messages(old=old))


async def test_lifecycle_driven_by_grpcio() -> None:
    started_ms = int(time.time() * 1000)
    async with control_plane() as (_, calls):
        resources = calls.messages.ResourceInfo(
            cpu_cores=8, memory_mb=2**40, disk_mb=7, cpu_utilization=0.25, memory_used_mb=3
        )
        registered = await calls(
            "RegisterWorker",
            worker_id="worker-1",
            endpoint="10.0.0.7:9091",
            resources=resources,
            metadata={"zone": "zürich"},
            instance_id="i-1",
        )
        assert registered.registered
        assert registered.assigned_worker_id == "worker-1"
        incarnation = registered.incarnation
        assert started_ms < incarnation <= time.time() * 1000 + 1
        assert registered.heartbeat_interval_ms == 7000
        assert registered.response.status == SUCCESS
        assert registered.response.request_id

        busier = calls.messages.ResourceInfo(cpu_cores=8, active_queries=3, memory_utilization=1.0)
        beaten = await calls(
            "Heartbeat",
            worker_id="worker-1",
            current_resources=busier,
            incarnation=incarnation,
            sequence=1,
        )
        assert beaten.acknowledged
        assert beaten.expected_status == HEALTHY
        assert beaten.next_heartbeat_ms == 7000
        assert dict(beaten.instructions) == {}

        (worker,) = (await calls("ListWorkers")).workers
        assert (worker.worker_id, worker.endpoint, worker.status) == ("worker-1", "10.0.0.7:9091", HEALTHY)
        assert worker.resources == busier
        assert dict(worker.metadata) == {"zone": "zürich"}
        assert worker.incarnation == incarnation
        assert worker.last_heartbeat.ToMilliseconds() >= worker.registered_at.ToMilliseconds() > 0

        left = await calls("DeregisterWorker", worker_id="worker-1", reason="done", incarnation=incarnation)
        assert left.deregistered
        assert await calls.ids() == []
        unknown = await calls("Heartbeat", worker_id="worker-1", incarnation=incarnation, sequence=2)
        assert not unknown.acknowledged
        assert unknown.response.status == FAILED
        assert dict(unknown.instructions) == {"action": "register"}


async def test_lifecycle_driven_by_grpcio_with_the_messages_of_the_field() -> None:
    async with control_plane(old=True) as (plane, calls):
        old = {"worker_id": "worker-1", "endpoint": "10.0.0.7:9091"}
        registered = await calls("RegisterWorker", **old)
        assert registered.registered
        assert registered.assigned_worker_id == "worker-1"
        # Restarted: the same endpoint is the same installation, and an incarnation of 0 is not fenced.
        assert (await calls("RegisterWorker", **old)).assigned_worker_id == "worker-1"
        for _ in range(2):  # a sequence of 0 is no heartbeat that came twice
            resources = calls.messages.ResourceInfo(cpu_cores=4, active_queries=1)
            beaten = await calls("Heartbeat", worker_id="worker-1", current_resources=resources)
            assert beaten.acknowledged
            assert beaten.expected_status == HEALTHY
        (worker,) = (await calls("ListWorkers")).workers
        assert worker.resources == resources
        plane.membership.execute(Cordon("worker-1"))
        beaten = await calls("Heartbeat", worker_id="worker-1")
        assert beaten.expected_status == DRAINING
        assert beaten.instructions["action"] == "cordon"
        assert (await calls("DeregisterWorker", worker_id="worker-1", reason="done")).deregistered
        assert await calls.ids() == []


async def test_status_filter_absent_lists_all_and_healthy_though_it_is_0_filters() -> None:
    async with control_plane() as (plane, calls):
        for name in ("a", "b", "c"):
            await calls("RegisterWorker", worker_id=name, endpoint=f"{name}:1")
        plane.membership.execute(Drain("b"))
        assert await calls.ids() == ["a", "b", "c"]
        assert await calls.ids(status_filter=HEALTHY) == ["a", "c"]
        assert await calls.ids(status_filter=DRAINING) == ["b"]
        assert await calls.ids(status_filter=UNHEALTHY) == []
        plane.membership.execute(Uncordon("b"))
        assert await calls.ids(status_filter=HEALTHY) == ["a", "b", "c"]


async def test_list_is_paged() -> None:
    async with control_plane() as (_, calls):
        for name in ("a", "b", "c"):
            await calls("RegisterWorker", worker_id=name, endpoint=f"{name}:1")
        first = await calls("ListWorkers", limit=2)
        rest = await calls("ListWorkers", limit=2, page_token=first.next_page_token)
    assert [worker.worker_id for worker in first.workers] == ["a", "b"]
    assert [worker.worker_id for worker in rest.workers] == ["c"]
    assert rest.next_page_token == ""


async def test_registration_refused_is_an_answer_that_says_why() -> None:
    async with control_plane(old=True) as (_, calls):
        refused = await calls("RegisterWorker", worker_id="w", endpoint="no port")
    assert not refused.registered
    assert refused.assigned_worker_id == ""
    assert refused.response.status == FAILED
    assert "endpoint" in refused.response.metadata["error"]


async def test_messages_of_an_incarnation_before_are_told_to_register() -> None:
    async with control_plane() as (_, calls):
        first, again = [
            await calls("RegisterWorker", worker_id="w", endpoint="h:1", instance_id="i") for _ in range(2)
        ]
        fenced = await calls("Heartbeat", worker_id="w", incarnation=again.incarnation - 1, sequence=1)
    assert again.incarnation == first.incarnation + 1
    assert not fenced.acknowledged
    assert fenced.instructions["action"] == "register"


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_an_error_to_grpcio(method: str) -> None:
    async with control_plane() as (_, calls):
        error = await theirs.failed(calls.channel, f"/{SERVICE}/{method}", b"\xff\xff\xff")
        assert await calls.ids() == []
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


# Our agent, served by grpcio


@dataclass
class Servicer:
    """A `Servicer` is a control plane on grpcio, which records its requests and plays its answers."""

    messages: Messages
    answers: dict[str, Callable[[Any], Any]]
    asked: list[tuple[str, Any]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def generic_handler(self) -> Any:
        return grpc.method_handlers_generic_handler(
            SERVICE, {method: self._method(method) for method in METHODS}
        )

    def requests(self, method: str) -> list[Any]:
        return [request for asked, request in self.asked if asked == method]

    async def until(self, method: str, count: int) -> None:
        """Wait until `method` has been called `count` times."""

        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self.requests(method)) >= count, WAIT_S)

        await in_thread(wait)

    def _method(self, method: str) -> Any:
        def handle(request: Any, context: Context) -> Any:
            with self._changed:
                self.asked.append((method, request))
                self._changed.notify_all()
                return self.answers[method](request)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=getattr(self.messages, f"{method}Request").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@asynccontextmanager
async def agent_of(servicer: Servicer) -> AsyncIterator[tuple[Agent, list[str]]]:
    """Run an agent of `servicer`, and yield the reason for which it left, once it has."""
    reasons: list[str] = []
    async with (
        grpcio_server(generic_handlers=[servicer.generic_handler()]) as up,
        our_channel(up.port) as channel,
        trio.open_nursery() as nursery,
    ):
        stubs = [(f"127.0.0.1:{up.port}", channel.stub(WorkerManagementServiceStub))]
        agent = Agent(
            AgentConfig(
                wanted_id="worker-1",
                instance_id="i-1",
                metadata={"zone": "zürich"},
                heartbeat_interval_s=0.1,
            ),
            ControlPlaneClient(stubs, SystemClock()),
            endpoint=_endpoint,
            resources=lambda active: Resources(cpu_cores=4, memory_mb=1024, active_queries=active),
            queries=QueryTracker(),
            clock=SystemClock(),
            random=Random(1),
        )

        async def run() -> None:
            reasons.append(await agent.run())

        nursery.start_soon(run)
        yield agent, reasons


async def _endpoint() -> str:
    return "10.0.0.7:9091"


async def test_agent_lives_its_life_with_a_control_plane_on_grpcio() -> None:
    messages = Messages()
    beats = [
        messages.HeartbeatResponse(acknowledged=True, next_heartbeat_ms=100),
        messages.HeartbeatResponse(acknowledged=False, instructions={"action": "register"}),
        messages.HeartbeatResponse(
            acknowledged=True,
            expected_status=DRAINING,
            instructions={"action": "drain"},
            next_heartbeat_ms=100,
        ),
    ]
    incarnations = iter((5, 6))
    servicer = Servicer(
        messages,
        {
            "RegisterWorker": lambda request: messages.RegisterWorkerResponse(
                registered=True,
                assigned_worker_id="worker-1-1",
                incarnation=next(incarnations),
                heartbeat_interval_ms=100,
            ),
            "Heartbeat": lambda request: beats.pop(0),
            "DeregisterWorker": lambda request: messages.DeregisterWorkerResponse(deregistered=True),
        },
    )
    async with agent_of(servicer) as (_, reasons):
        await servicer.until("DeregisterWorker", 1)
    assert reasons == [DRAINED]
    first, second = servicer.requests("RegisterWorker")
    assert (first.worker_id, first.endpoint, first.instance_id) == ("worker-1", "10.0.0.7:9091", "i-1")
    assert dict(first.metadata) == {"zone": "zürich"}
    assert (first.resources.cpu_cores, first.resources.memory_mb) == (4, 1024)
    assert second.worker_id == "worker-1-1"
    heartbeats = servicer.requests("Heartbeat")
    assert [(beat.incarnation, beat.sequence) for beat in heartbeats] == [(5, 1), (5, 2), (6, 3)]
    assert all(beat.current_resources.cpu_cores == 4 for beat in heartbeats)
    assert all(beat.timestamp.ToMilliseconds() > 0 for beat in heartbeats)
    (leave,) = servicer.requests("DeregisterWorker")
    assert (leave.worker_id, leave.reason, leave.incarnation) == ("worker-1-1", DRAINED, 6)


async def test_agent_lives_its_life_with_a_control_plane_of_the_field() -> None:
    messages = Messages(old=True)
    beats = [
        messages.HeartbeatResponse(acknowledged=True),
        messages.HeartbeatResponse(acknowledged=False, instructions={"action": "register"}),
    ]
    servicer = Servicer(
        messages,
        {
            "RegisterWorker": lambda request: messages.RegisterWorkerResponse(
                registered=True, assigned_worker_id="worker-1"
            ),
            "Heartbeat": lambda request: (
                beats.pop(0) if beats else messages.HeartbeatResponse(acknowledged=True)
            ),
            "DeregisterWorker": lambda request: messages.DeregisterWorkerResponse(deregistered=True),
        },
    )
    async with agent_of(servicer) as (agent, reasons):
        await servicer.until("Heartbeat", 4)
        assert agent.state.registered
        agent.stop("test is over")
        await servicer.until("DeregisterWorker", 1)
    assert reasons == ["test is over"]
    assert [request.worker_id for request in servicer.requests("RegisterWorker")] == ["worker-1"] * 2
    (leave,) = servicer.requests("DeregisterWorker")
    assert (leave.worker_id, leave.reason) == ("worker-1", "test is over")


async def test_agent_refused_by_grpcio_tries_again_until_it_is_not() -> None:
    messages = Messages(old=True)
    refusal = messages.RegisterWorkerResponse(registered=False)
    refusal.response.status = FAILED
    refusal.response.metadata["error"] = "not today"
    answers = [refusal, messages.RegisterWorkerResponse(registered=True, assigned_worker_id="worker-1")]
    servicer = Servicer(
        messages,
        {
            "RegisterWorker": lambda request: answers.pop(0),
            "Heartbeat": lambda request: messages.HeartbeatResponse(acknowledged=True),
            "DeregisterWorker": lambda request: messages.DeregisterWorkerResponse(deregistered=True),
        },
    )
    async with agent_of(servicer) as (agent, _):
        await servicer.until("Heartbeat", 1)
        assert agent.state.worker_id == "worker-1"
        agent.stop("test is over")
    assert len(servicer.requests("RegisterWorker")) == 2
