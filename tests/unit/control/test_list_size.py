"""Answers of ListWorkers stay below the limit of stock clients; errors of ours reach gRPC by their names."""

from __future__ import annotations

from random import Random

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair

from minicloud.app.serving import MAX_REQUEST_BYTES
from minicloud.control import service as service_module
from minicloud.control.service import MAX_LIST_BYTES, grpc_error
from minicloud.core.commands import Register
from minicloud.core.errors import (
    ConfigError,
    FencedError,
    InvalidError,
    MiniCloudError,
    StoreError,
    StoreWriteError,
    UnknownWorkerError,
)
from minicloud.core.model import Resources, WorkerId
from minicloud.rpc.channel import Channel
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.interceptors import intercepted, translating
from minicloud.rpc.server import Server
from minicloud.wire.encoded import EncodedList
from minicloud.wire.gen.minicloud.common import StandardResponse, WorkerInfo
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    WorkerManagementServiceStub,
)
from tests.unit.control.service_kit import Plane

STOCK_LIMIT_BYTES = 4 * 1024 * 1024


async def all_pages(plane: Plane, limit: int = 0) -> tuple[list[str], list[int]]:
    """Return the ids of every page, and the pages' sizes."""
    ids: list[str] = []
    sizes: list[int] = []
    token = ""
    while True:
        request = ListWorkersRequest(limit=limit, page_token=token)
        data = bytes(await plane.service.list_workers(request))
        answer = ListWorkersResponse.FromString(data)
        ids += [worker.worker_id for worker in answer.workers]
        sizes.append(len(data))
        token = answer.next_page_token
        if not token:
            return ids, sizes


def register(plane: Plane, number: int, metadata: dict[str, str]) -> str:
    worker_id = f"w{number:05}"
    plane.membership.execute(
        Register(
            endpoint=f"h:{number + 1}",
            generated_id=WorkerId("unused"),
            worker_id=worker_id,
            instance_id="",
            resources=Resources(),
            metadata=metadata,
        )
    )
    return worker_id


@pytest.mark.parametrize("limit", [0, 9_999])
@pytest.mark.parametrize(("workers", "label_bytes"), [(2500, 4_000), (350, 200), (1500, 3_000)])
async def test_list_workers_ends_its_page_below_the_stock_limit(
    limit: int, workers: int, label_bytes: int
) -> None:
    plane = Plane()
    made = [register(plane, number, {"labels": "x" * label_bytes}) for number in range(workers)]
    ids, sizes = await all_pages(plane, limit)
    assert ids == made
    assert max(sizes) < STOCK_LIMIT_BYTES
    assert all(size > MAX_LIST_BYTES - 2 * label_bytes for size in sizes[:-1])


async def test_list_workers_of_few_bytes_is_one_page() -> None:
    plane = Plane()
    made = [register(plane, number, {}) for number in range(250)]
    ids, sizes = await all_pages(plane)
    assert (ids, len(sizes)) == (made, 1)


@pytest.mark.parametrize(("max_bytes", "fits"), [(0, 1), (500, 4), (499, 3), (10_000, 10)])
def test_encoded_list_takes_as_many_as_fit_and_always_one(max_bytes: int, fits: int) -> None:
    one = len(bytes(ListWorkersResponse(workers=[WorkerInfo(worker_id="0", endpoint="x" * 112)])))
    workers = [WorkerInfo(worker_id=str(number), endpoint="x" * (112 + 125 - one)) for number in range(10)]
    assert len(bytes(ListWorkersResponse(workers=workers))) == 1250
    listed = EncodedList()
    assert listed.add(workers, max_bytes) == fits
    assert listed.add(workers, max_bytes) == 0 or max_bytes == 10_000
    listed.end("", StandardResponse())
    found = ListWorkersResponse.FromString(bytes(listed)).workers
    assert [worker.worker_id for worker in found][:fits] == [str(number) for number in range(fits)]


async def test_lists_are_made_two_at_a_time() -> None:
    plane = Plane()
    for number in range(1000):
        register(plane, number, {})
    at_once: list[int] = []
    working = 0
    original = plane.service._list_of

    async def counted(page: object) -> EncodedList:
        nonlocal working
        working += 1
        at_once.append(working)
        try:
            return await original(page)  # type: ignore[arg-type]
        finally:
            working -= 1

    plane.service._list_of = counted  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(plane.list_workers, ListWorkersRequest())
    assert max(at_once) == service_module._LISTS_AT_ONCE
    assert len(at_once) == 10


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreWriteError("no space"), Status.UNAVAILABLE),
        (StoreError("damaged"), Status.UNAVAILABLE),
        (InvalidError("wrong"), Status.INVALID_ARGUMENT),
        (UnknownWorkerError("who"), Status.NOT_FOUND),
        (FencedError("old"), Status.FAILED_PRECONDITION),
    ],
)
def test_error_of_ours_has_a_status_and_its_text(error: MiniCloudError, status: Status) -> None:
    found = grpc_error(error)
    assert found is not None
    assert (found.status, found.message) == (status, str(error))


@pytest.mark.parametrize("error", [ConfigError("x"), ValueError("x")])
def test_other_error_has_no_status(error: Exception) -> None:
    assert grpc_error(error) is None


class Failing:
    """A `Failing` is a store that cannot write."""

    def check_accepting(self) -> None:
        pass

    def append(self, change: object) -> None:
        pass

    async def flushed(self) -> None:
        raise StoreWriteError("the registry cannot be written: no space left")


async def served(plane: Plane, nursery: trio.Nursery) -> Channel:
    server = Server(
        intercepted([plane.service], translating(grpc_error)),
        random=Random(1),
        limits=ServerLimits(max_message_bytes=MAX_REQUEST_BYTES),
    )

    async def connect() -> trio.abc.Stream:
        near, far = memory_stream_pair()
        nursery.start_soon(server.serve_connection, far)
        return near

    return Channel(nursery, [connect], random=Random(2))


async def test_store_that_fails_is_unavailable_to_clients_and_no_fault_of_a_handler() -> None:
    plane = Plane()
    plane.membership._store = Failing()  # type: ignore[assignment]
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            stub = WorkerManagementServiceStub(await served(plane, nursery))  # type: ignore[arg-type]
            with pytest.raises(GRPCError) as caught:
                await stub.register_worker(RegisterWorkerRequest(endpoint="h:1"))
            nursery.cancel_scope.cancel()
    assert caught.value.status is Status.UNAVAILABLE
    assert "no space left" in (caught.value.message or "")
    assert "rpc_handler_failed" not in [line["event"] for line in logs]


async def test_request_over_64_kib_is_refused_and_the_largest_metadata_is_not() -> None:
    plane = Plane()
    async with trio.open_nursery() as nursery:
        channel = await served(plane, nursery)
        stub = WorkerManagementServiceStub(channel)  # type: ignore[arg-type]
        largest = {f"{number:02}" + "k" * 54: "v" * 200 for number in range(64)}
        answer: RegisterWorkerResponse = await stub.register_worker(
            RegisterWorkerRequest(endpoint="h:1", worker_id="w", metadata=largest)
        )
        assert answer.registered
        with pytest.raises(GRPCError) as caught:
            await stub.heartbeat(HeartbeatRequest(worker_id="w", status_metadata={"k": "v" * 65_536}))
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        many = HeartbeatRequest(worker_id="w", status_metadata={str(number): "" for number in range(1001)})
        async with channel.request(
            "/minicloud.execution.WorkerManagementService/Heartbeat",
            Cardinality.UNARY_UNARY,
            HeartbeatRequest,
            HeartbeatResponse,
        ) as stream:
            await stream.send_message(many, end=True)
            with pytest.raises(GRPCError) as caught:
                await stream.recv_message()
        assert caught.value.status is Status.INTERNAL
        few = {str(number): "" for number in range(1000)}
        assert (await stub.heartbeat(HeartbeatRequest(worker_id="w", status_metadata=few))).acknowledged
        nursery.cancel_scope.cancel()
