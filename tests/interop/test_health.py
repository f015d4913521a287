"""The standard health and reflection services work with grpcio's own packages for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from minicloud.rpc.health import Health
from minicloud.rpc.reflection import Reflection
from minicloud.wire.descriptors import descriptor_pool
from minicloud.wire.gen.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthStub,
)
from minicloud.wire.gen.minicloud.execution import (
    ListWorkersRequest,
    ListWorkersResponse,
    WorkerManagementServiceBase,
)
from tests.interop.ours import our_channel, our_server
from tests.interop.theirs import WAIT_S, grpcio_channel, grpcio_server, in_thread

SERVICE = "minicloud.execution.WorkerManagementService"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


class Workers(WorkerManagementServiceBase):
    async def list_workers(self, message: ListWorkersRequest) -> ListWorkersResponse:
        return ListWorkersResponse(next_page_token=f"after {message.limit}")


@dataclass
class Observed:
    """An `Observed` is a server as a tool sees it."""

    health: Health
    channel: Any
    stub: Any


@asynccontextmanager
async def observed() -> AsyncIterator[Observed]:
    workers = Workers()
    health = Health([workers])
    reflection = Reflection([workers, health], descriptor_pool())
    async with our_server(services=[workers, health, reflection]) as up:
        with grpcio_channel(up.port) as channel:
            yield Observed(health, channel, health_pb2_grpc.HealthStub(channel))


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_grpcio_checks_our_health(service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    async with observed() as up:
        assert (await in_thread(up.stub.Check, request, timeout=WAIT_S)).status == SERVING
        up.health.stop_serving()
        assert (await in_thread(up.stub.Check, request, timeout=WAIT_S)).status == NOT_SERVING


async def test_grpcio_checks_and_watches_a_service_we_do_not_have() -> None:
    request = health_pb2.HealthCheckRequest(service="no.Service")
    async with observed() as up:
        with pytest.raises(grpc.RpcError) as caught:
            await in_thread(up.stub.Check, request, timeout=WAIT_S)
        updates = up.stub.Watch(request, timeout=WAIT_S)
        assert (await in_thread(next, updates)).status == SERVICE_UNKNOWN
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_grpcio_watches_our_health_to_the_end() -> None:
    async with observed() as up:
        updates = up.stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=WAIT_S)
        assert (await in_thread(next, updates)).status == SERVING
        up.health.stop_serving()
        assert (await in_thread(next, updates)).status == NOT_SERVING
        up.health.close()
        with pytest.raises(grpc.RpcError) as caught:
            await in_thread(next, updates)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_our_client_checks_and_watches_the_health_of_grpcio() -> None:
    servicer = HealthServicer()
    servicer.set(SERVICE, SERVING)
    handlers = _handlers_of(servicer)
    async with grpcio_server(generic_handlers=[handlers]) as up, our_channel(up.port) as channel:
        stub = channel.stub(HealthStub)
        request = HealthCheckRequest(service=SERVICE)
        assert (await stub.check(request)).status is HealthCheckResponseServingStatus.SERVING
        with pytest.raises(GRPCError) as caught:
            await stub.check(HealthCheckRequest(service="no.Service"))
        async with channel.request(
            "/grpc.health.v1.Health/Watch", Cardinality.UNARY_STREAM, HealthCheckRequest, HealthCheckResponse
        ) as updates:
            await updates.send_message(request, end=True)
            first = await updates.recv_message()
            servicer.set(SERVICE, NOT_SERVING)
            second = await updates.recv_message()
    assert caught.value.status is Status.NOT_FOUND
    assert first == HealthCheckResponse(HealthCheckResponseServingStatus.SERVING)
    assert second == HealthCheckResponse(HealthCheckResponseServingStatus.NOT_SERVING)


def _handlers_of(servicer: HealthServicer) -> Any:
    """Return the handlers that the package's `add_HealthServicer_to_server` gives a server."""
    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(
            servicer.Check, health_pb2.HealthCheckRequest.FromString, _serialize
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(
            servicer.Watch, health_pb2.HealthCheckRequest.FromString, _serialize
        ),
    }
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)


def _serialize(message: Any) -> bytes:
    data = message.SerializeToString()
    assert isinstance(data, bytes)
    return data


async def test_grpcio_finds_and_calls_a_service_of_ours_knowing_nothing_of_it() -> None:
    async with observed() as up:
        answer = await in_thread(_call_by_reflection, up.channel)
    assert answer.next_page_token == "after 7"


def _call_by_reflection(channel: Any) -> Any:
    """Call ListWorkers as a tool would that has no .proto file. Blocks."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
    method = DescriptorPool(database).FindServiceByName(SERVICE).FindMethodByName("ListWorkers")
    request = GetMessageClass(method.input_type)(limit=7)
    return channel.unary_unary(
        f"/{SERVICE}/{method.name}",
        request_serializer=_serialize,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(request, timeout=WAIT_S)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_reflection_answer_grpcio(version: str) -> None:
    """The messages of both versions are the same on the wire."""
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services="*"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    async with observed() as up:
        answers = up.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=_serialize,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter(requests), timeout=WAIT_S)
        listed, missing, found = await in_thread(list, answers)
    assert SERVICE in [service.name for service in listed.list_services_response.service]
    assert missing.error_response.error_code == Status.NOT_FOUND.value
    assert found.file_descriptor_response.file_descriptor_proto
