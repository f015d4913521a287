"""Server reflection lists and finds the services, refuses what is missing, and has two equal versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpclib.const import Cardinality, Status
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.rpc.channel import Channel
from minicloud.rpc.client_stream import ClientStream
from minicloud.rpc.health import Health
from minicloud.rpc.reflection import Reflection
from minicloud.rpc.servable import Servable
from minicloud.rpc.server import Server
from minicloud.wire.descriptors import descriptor_pool
from minicloud.wire.gen.grpc.reflection.v1 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceBase
from tests.unit.rpc.support import connect_to

V1, V1ALPHA = (
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
)

ReflectionStream = ClientStream[ServerReflectionRequest, ServerReflectionResponse]


@asynccontextmanager
async def reflecting(path: str = V1, pool: DescriptorPool | None = None) -> AsyncIterator[ReflectionStream]:
    service = WorkerManagementServiceBase()
    services: list[Servable] = [service, Health([service])]
    server = Server([*services, Reflection(services, pool or descriptor_pool())], random=Random(1))
    async with trio.open_nursery() as nursery:
        channel = Channel(nursery, [connect_to(server, nursery)], random=Random(2))
        async with channel.request(
            path, Cardinality.STREAM_STREAM, ServerReflectionRequest, ServerReflectionResponse
        ) as stream:
            yield stream
        nursery.cancel_scope.cancel()


async def ask(stream: ReflectionStream, request: ServerReflectionRequest) -> ServerReflectionResponse:
    await stream.send_message(request)
    answer = await stream.recv_message()
    assert answer is not None
    assert answer.original_request == request
    return answer


def files_in(answer: ServerReflectionResponse) -> list[FileDescriptorProto]:
    assert answer.file_descriptor_response is not None, answer
    return [
        FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize("path", [V1, V1ALPHA])
async def test_reflection_lists_all_that_is_served_itself_included(path: str) -> None:
    async with reflecting(path) as stream:
        answer = await ask(stream, ServerReflectionRequest(list_services=""))
    assert answer.list_services_response is not None
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "minicloud.execution.WorkerManagementService",
    ]


@pytest.mark.parametrize(
    "symbol",
    [
        "minicloud.execution.WorkerManagementService",
        "minicloud.execution.WorkerManagementService.Heartbeat",
        "minicloud.execution.HeartbeatRequest",
        "minicloud.execution.HeartbeatRequest.worker_id",
    ],
)
async def test_reflection_symbol_gives_its_file_first_and_what_it_imports(symbol: str) -> None:
    async with reflecting() as stream:
        files = files_in(await ask(stream, ServerReflectionRequest(file_containing_symbol=symbol)))
    assert files[0].name == "minicloud/execution.proto"
    assert sorted(file.name for file in files[1:]) == [
        "google/protobuf/timestamp.proto",
        "minicloud/common.proto",
    ]
    assert [method.name for method in files[0].service[0].method] == [
        "RegisterWorker",
        "DeregisterWorker",
        "Heartbeat",
        "ListWorkers",
    ]


async def test_reflection_file_comes_with_what_its_imports_import_each_once() -> None:
    pool = DescriptorPool()
    for name, imports in (("d", []), ("c", ["d"]), ("b", ["d"]), ("a", ["b", "c"])):
        pool.Add(FileDescriptorProto(name=name, dependency=imports))
    async with reflecting(pool=pool) as stream:
        files = files_in(await ask(stream, ServerReflectionRequest(file_by_filename="a")))
    assert files[0].name == "a"
    assert sorted(file.name for file in files) == ["a", "b", "c", "d"]


async def test_reflection_knows_the_files_of_every_service_it_lists() -> None:
    async with reflecting() as stream:
        listed = (await ask(stream, ServerReflectionRequest(list_services=""))).list_services_response
        assert listed is not None
        for service in listed.service:
            (file, *_) = files_in(
                await ask(stream, ServerReflectionRequest(file_containing_symbol=service.name))
            )
            assert service.name in [f"{file.package}.{each.name}" for each in file.service]
            assert file == files_in(await ask(stream, ServerReflectionRequest(file_by_filename=file.name)))[0]


async def test_reflection_message_without_extensions_has_an_empty_list_of_them() -> None:
    async with reflecting() as stream:
        answer = await ask(
            stream, ServerReflectionRequest(all_extension_numbers_of_type="minicloud.common.ResourceInfo")
        )
    assert answer.all_extension_numbers_response is not None
    assert answer.all_extension_numbers_response.base_type_name == "minicloud.common.ResourceInfo"
    assert answer.all_extension_numbers_response.extension_number == []


@pytest.mark.parametrize(
    "request_",
    [
        ServerReflectionRequest(file_by_filename="nowhere.proto"),
        ServerReflectionRequest(file_containing_symbol="minicloud.Nothing"),
        ServerReflectionRequest(file_containing_symbol="minicloud.execution.WorkerManagementService.Nothing"),
        ServerReflectionRequest(file_containing_symbol=""),
        ServerReflectionRequest(
            file_containing_extension=ExtensionRequest("minicloud.common.ResourceInfo", 100)
        ),
        ServerReflectionRequest(file_containing_extension=ExtensionRequest("no.Such", 1)),
        ServerReflectionRequest(all_extension_numbers_of_type="no.Such"),
    ],
    ids=["file", "symbol", "method", "empty", "extension", "extended", "extensions"],
)
async def test_reflection_what_is_not_there_is_an_answer_and_the_stream_goes_on(
    request_: ServerReflectionRequest,
) -> None:
    async with reflecting() as stream:
        answer = await ask(stream, request_)
        assert answer.error_response is not None
        assert answer.error_response.error_code == Status.NOT_FOUND.value
        files_in(await ask(stream, ServerReflectionRequest(file_by_filename="minicloud/common.proto")))


async def test_reflection_request_that_asks_nothing_is_an_invalid_argument() -> None:
    async with reflecting() as stream:
        answer = await ask(stream, ServerReflectionRequest(host="here"))
        assert answer.valid_host == "here"
        assert answer.error_response is not None
        assert answer.error_response.error_code == Status.INVALID_ARGUMENT.value


@settings(deadline=None)
@given(st.text(), st.integers(-(2**31), 2**31 - 1))
async def test_reflection_any_text_is_answered(text: str, number: int) -> None:
    async with reflecting() as stream:
        for request in (
            ServerReflectionRequest(file_by_filename=text),
            ServerReflectionRequest(file_containing_symbol=text),
            ServerReflectionRequest(all_extension_numbers_of_type=text),
            ServerReflectionRequest(file_containing_extension=ExtensionRequest(text, number)),
        ):
            await ask(stream, request)
