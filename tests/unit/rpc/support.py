"""This module has services for the tests of `rpc`, and a server and a channel joined in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import pytest
import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from trio.testing import memory_stream_pair

from minicloud.rpc.channel import Channel
from minicloud.rpc.config import ChannelConfig, ServerLimits
from minicloud.rpc.connecting import Connect
from minicloud.rpc.interceptors import Interceptor, intercepted
from minicloud.rpc.refusals import Cause
from minicloud.rpc.server import Observer, Server
from minicloud.rpc.server_stream import ServerStream
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse

Stream = ServerStream[HeartbeatRequest, HeartbeatResponse]
E = TypeVar("E")
HandlerFunc = Callable[[Stream], Awaitable[None]]

UNARY = "/test.Service/Unary"
SERVER_STREAM = "/test.Service/ServerStream"
CLIENT_STREAM = "/test.Service/ClientStream"
BOTH_STREAM = "/test.Service/BothStream"

_CARDINALITIES = {
    UNARY: Cardinality.UNARY_UNARY,
    SERVER_STREAM: Cardinality.UNARY_STREAM,
    CLIENT_STREAM: Cardinality.STREAM_UNARY,
    BOTH_STREAM: Cardinality.STREAM_STREAM,
}


class Service:
    """A `Service` has handlers by path."""

    def __init__(self, handlers: Mapping[str, HandlerFunc]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            path: Handler(func, _CARDINALITIES[path], HeartbeatRequest, HeartbeatResponse)
            for path, func in self._handlers.items()
        }


async def answer(stream: Stream) -> None:
    """Answer with the length of the request's worker id."""
    request = await stream.recv_message()
    assert request is not None
    await stream.send_message(reply(len(request.worker_id)))


async def answer_each(stream: Stream) -> None:
    async for request in stream:
        await stream.send_message(reply(len(request.worker_id)))


async def sleep_for_ever(stream: Stream) -> None:
    await trio.sleep_forever()


def request(size: int = 1) -> HeartbeatRequest:
    return HeartbeatRequest(worker_id="w" * size)


def reply(number: int) -> HeartbeatResponse:
    return HeartbeatResponse(next_heartbeat_ms=number)


@dataclass
class Recorder(Observer):
    """A `Recorder` is an observer that keeps every call of its methods."""

    finished: list[tuple[str, Status, float]]
    refused: list[Cause] = field(default_factory=list)

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        self.finished.append((method, status, duration_s))

    def on_refused(self, cause: Cause) -> None:
        self.refused.append(cause)


def make_server(
    handlers: Mapping[str, HandlerFunc],
    *,
    limits: ServerLimits | None = None,
    observer: Observer | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Server:
    return Server(
        intercepted([Service(handlers)], *interceptors), random=Random(1), limits=limits, observer=observer
    )


def connect_to(server: Server, nursery: trio.Nursery) -> Connect:
    """Return a channel's `connect` that ends in `server`, in memory."""

    async def connect() -> trio.abc.Stream:
        near, far = memory_stream_pair()
        nursery.start_soon(server.serve_connection, far)
        return near

    return connect


@asynccontextmanager
async def joined(
    handlers: Mapping[str, HandlerFunc],
    *,
    limits: ServerLimits | None = None,
    config: ChannelConfig | None = None,
    observer: Observer | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> AsyncIterator[tuple[Server, Channel]]:
    """Run a server with `handlers` and yield a channel to it."""
    server = make_server(handlers, limits=limits, observer=observer, interceptors=interceptors)
    async with trio.open_nursery() as nursery:
        channel = Channel(nursery, [connect_to(server, nursery)], random=Random(2), config=config)
        yield server, channel
        nursery.cancel_scope.cancel()


async def call(
    channel: Channel,
    message: HeartbeatRequest | None = None,
    *,
    timeout: float | None = None,
    metadata: Mapping[str, str | bytes] | None = None,
    path: str = UNARY,
) -> int:
    """Make a unary call and return the message passed to `reply`."""
    async with channel.request(
        path,
        Cardinality.UNARY_UNARY,
        HeartbeatRequest,
        HeartbeatResponse,
        timeout=timeout,
        metadata=metadata,
    ) as stream:
        await stream.send_message(request() if message is None else message, end=True)
        answered = await stream.recv_message()
    assert answered is not None
    return answered.next_heartbeat_ms


async def status_of(channel: Channel, *, timeout: float | None = None, size: int = 1) -> GRPCError:
    """Return the error with which a unary call fails."""
    with pytest.raises(GRPCError) as caught:
        await call(channel, request(size), timeout=timeout)
    return caught.value
