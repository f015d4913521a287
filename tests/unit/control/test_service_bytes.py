"""Any bytes at the four calls are answered or refused with a gRPC status, and no ill-typed value gets past.

The bytes go through the real transport, so that the tests cover what a peer can reach.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Self

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicloud.clock import SystemClock
from minicloud.control.membership import Membership
from minicloud.control.service import WorkerManagementService
from minicloud.core.model import Resources, Worker
from minicloud.core.registry import Registry
from minicloud.rpc.channel import Channel
from minicloud.rpc.server import Server
from minicloud.wire.gen.minicloud.common import ResourceInfo, WorkerStatus
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatRequest,
    ListWorkersRequest,
    RegisterWorkerRequest,
)
from minicloud.wire.message import Message
from tests.unit.control.gated_store import GatedStore
from tests.unit.control.service_kit import Counts
from tests.unit.rpc.support import connect_to

METHODS = ["RegisterWorker", "Heartbeat", "DeregisterWorker", "ListWorkers"]
REFUSED = {Status.INTERNAL, Status.INVALID_ARGUMENT}
RESOURCES = ResourceInfo(4, 1000, 1000, 1, 0.5, 0.5)
VALID: dict[str, Message] = {
    "RegisterWorker": RegisterWorkerRequest("w", "h:1", RESOURCES, {"zone": "a"}, "0123"),
    "Heartbeat": HeartbeatRequest("w", RESOURCES, None, {"a": "b"}, 1, 2),
    "DeregisterWorker": DeregisterWorkerRequest("w", "done", 1),
    "ListWorkers": ListWorkersRequest(WorkerStatus.HEALTHY, 3, "dw"),
}


@dataclass
class Raw:
    """A `Raw` is a message that is its own bytes."""

    data: bytes = b""

    @classmethod
    def FromString(cls, data: bytes, /) -> Self:  # noqa: N802
        return cls(data)

    def SerializeToString(self) -> bytes:  # noqa: N802
        return self.data


@asynccontextmanager
async def plane_and_channel() -> AsyncIterator[tuple[Membership, Channel]]:
    membership = Membership(Registry(), GatedStore(), SystemClock())
    server = Server([WorkerManagementService(membership, Counts(), Random(1))], random=Random(1))
    async with trio.open_nursery() as nursery:
        yield membership, Channel(nursery, [connect_to(server, nursery)], random=Random(2))
        nursery.cancel_scope.cancel()


async def status_of(channel: Channel, method: str, data: bytes) -> Status:
    path = f"/minicloud.execution.WorkerManagementService/{method}"
    try:
        async with channel.request(path, Cardinality.UNARY_UNARY, Raw, Raw) as stream:
            await stream.send_message(Raw(data), end=True)
            await stream.recv_message()
    except GRPCError as error:
        return error.status
    return Status.OK


def assert_well_typed(worker: Worker) -> None:
    texts = [worker.worker_id, worker.endpoint, worker.instance_id, worker.wanted_id]
    texts += [*worker.metadata, *worker.metadata.values()]
    assert all(type(text) is str for text in texts), worker
    assert type(worker.incarnation) is int
    resources = worker.resources
    assert type(resources) is Resources
    assert type(resources.cpu_utilization) is type(resources.memory_utilization) is float
    assert all(
        type(figure) is int
        for figure in (resources.cpu_cores, resources.memory_mb, resources.disk_mb, resources.active_queries)
    )


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a valid request with some of its bytes changed, cut off, doubled or put elsewhere."""
    method = draw(st.sampled_from(METHODS))
    data = bytearray(bytes(VALID[draw(st.sampled_from(METHODS))]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "remove"]))
        if kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif at < len(data):
            if kind == "change":
                data[at] = draw(st.integers(0, 255))
            else:
                del data[at]
    return method, bytes(data)


NO_MESSAGE = {
    "wire type": b"\x0f\x01",
    "cut text": b"\x0a\x05ab",
    "no length": b"\x0a",
    "endless number": b"\xff" * 11,
    "cut message": b"\x1a\x02\x08",
    "neither message nor text": b"\x1a\x01\xff",
}


@pytest.mark.parametrize(
    ("method", "data"),
    [
        pytest.param(method, data, id=f"{method}-{name}")
        for method in METHODS
        for name, data in NO_MESSAGE.items()
        # Field 3 is a number there, and one of another kind counts as an unknown field.
        if (method, name) != ("DeregisterWorker", "neither message nor text")
    ],
)
async def test_bytes_that_are_no_message_are_refused_and_keep_nothing(method: str, data: bytes) -> None:
    async with plane_and_channel() as (membership, channel):
        assert await status_of(channel, method, data) in REFUSED
        assert len(membership.sweep_due()) == 0


@settings(deadline=None, max_examples=200)
@given(st.tuples(st.sampled_from(METHODS), st.binary(max_size=60)) | mutated())
@example(("RegisterWorker", b"\x08\x01"))  # a number in place of the id
async def test_any_bytes_are_answered_or_refused_and_keep_nothing_ill_typed(case: tuple[str, bytes]) -> None:
    method, data = case
    async with plane_and_channel() as (membership, channel):
        assert await status_of(channel, "RegisterWorker", bytes(VALID["RegisterWorker"])) is Status.OK
        assert await status_of(channel, method, data) in {Status.OK, *REFUSED}
        for worker in membership.sweep_due().workers():
            assert_well_typed(worker)
        assert await status_of(channel, "ListWorkers", b"") is Status.OK
