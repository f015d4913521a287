"""This is our side of the interop tests: an echo service of plain bytes, with `Server` and `Channel`.

Messages are plain bytes on both sides, so that the tests compare the transport; the production messages have
tests of their own. Everything opened here ends within `BOUND_S`, or the test fails.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from minicloud.rpc.channel import Channel, open_channel
from minicloud.rpc.client_stream import ClientStream
from minicloud.rpc.config import ChannelConfig, ServerLimits
from minicloud.rpc.metadata import MetadataLike
from minicloud.rpc.refusals import Cause
from minicloud.rpc.servable import Servable
from minicloud.rpc.server import Server
from minicloud.rpc.server_stream import ServerStream

BOUND_S = 30.0

SERVICE = "interop.Echo"
UNARY = f"/{SERVICE}/Unary"
SERVER_STREAM = f"/{SERVICE}/ServerStream"
CLIENT_STREAM = f"/{SERVICE}/ClientStream"
BOTH_STREAM = f"/{SERVICE}/BothStream"

CARDINALITIES = {
    UNARY: Cardinality.UNARY_UNARY,
    SERVER_STREAM: Cardinality.UNARY_STREAM,
    CLIENT_STREAM: Cardinality.STREAM_UNARY,
    BOTH_STREAM: Cardinality.STREAM_STREAM,
}


@dataclass(frozen=True, slots=True)
class Blob:
    """A `Blob` is a message that is its own bytes."""

    data: bytes

    @classmethod
    def FromString(cls, data: bytes, /) -> Blob:  # noqa: N802
        return cls(data)

    def SerializeToString(self) -> bytes:  # noqa: N802
        return self.data


Stream: TypeAlias = ServerStream[Blob, Blob]
ClientCall: TypeAlias = ClientStream[Blob, Blob]
HandlerFunc: TypeAlias = Callable[[Stream], Awaitable[None]]


async def echo(stream: Stream) -> None:
    message = await stream.recv_message()
    assert message is not None
    await stream.send_message(message)


async def split(stream: Stream) -> None:
    """Send a message for each byte of the request."""
    message = await stream.recv_message()
    assert message is not None
    for byte in message.data:
        await stream.send_message(Blob(bytes([byte])))


async def join(stream: Stream) -> None:
    """Send all requests in one message."""
    await stream.send_message(Blob(b"".join([message.data async for message in stream])))


async def echo_each(stream: Stream) -> None:
    async for message in stream:
        await stream.send_message(message)


ECHO: Mapping[str, HandlerFunc] = {
    UNARY: echo,
    SERVER_STREAM: split,
    CLIENT_STREAM: join,
    BOTH_STREAM: echo_each,
}


class Service:
    """A `Service` is the echo service, with some of its handlers replaced."""

    def __init__(self, handlers: Mapping[str, HandlerFunc]) -> None:
        self._handlers = {**ECHO, **handlers}

    def __mapping__(self) -> Mapping[str, Handler]:
        return {path: Handler(func, CARDINALITIES[path], Blob, Blob) for path, func in self._handlers.items()}


@dataclass
class Ends:
    """An `Ends` observes how calls ended, and can wait for it."""

    calls: list[tuple[str, Status]] = field(default_factory=list)
    _changed: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        self.calls.append((method, status))
        self._changed.unpark_all()

    def on_refused(self, cause: Cause) -> None:
        pass

    async def wait(self, count: int) -> list[tuple[str, Status]]:
        while len(self.calls) < count:
            await self._changed.park()
        return self.calls


@dataclass
class Served:
    server: Server
    port: int
    ends: Ends


@asynccontextmanager
async def our_server(
    handlers: Mapping[str, HandlerFunc] | None = None,
    *,
    services: Sequence[Servable] = (),
    limits: ServerLimits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[Served]:
    """Serve the echo service and `services` on loopback; the server is cancelled, not stopped, at the end."""
    ends = Ends()
    server = Server([Service(handlers or {}), *services], random=Random(1), limits=limits, observer=ends)
    tcp = await trio.open_tcp_listeners(port, host="127.0.0.1")
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] = tcp
    if ssl_context is not None:
        listeners = [trio.SSLListener(listener, ssl_context) for listener in tcp]
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, listeners)
            yield Served(server, tcp[0].socket.getsockname()[1], ends)
            nursery.cancel_scope.cancel()


def our_channel(
    port: int, *, config: ChannelConfig | None = None, ssl_context: ssl.SSLContext | None = None
) -> AbstractAsyncContextManager[Channel]:
    return open_channel([("127.0.0.1", port)], random=Random(2), config=config, ssl_context=ssl_context)


def request(
    channel: Channel,
    path: str,
    *,
    timeout: float | None = None,
    metadata: MetadataLike | None = None,
) -> ClientCall:
    return channel.request(path, CARDINALITIES[path], Blob, Blob, timeout=timeout, metadata=metadata)


async def call(
    channel: Channel,
    data: bytes = b"x",
    *,
    timeout: float | None = None,
    metadata: MetadataLike | None = None,
) -> bytes:
    """Return the answer of a unary call."""
    async with request(channel, UNARY, timeout=timeout, metadata=metadata) as stream:
        await stream.send_message(Blob(data), end=True)
        answer = await stream.recv_message()
    assert answer is not None
    return answer.data


async def call_each_cardinality(channel: Channel) -> None:
    """Check the answers of all four methods of an echo service."""
    assert await call(channel, b"one") == b"one"
    async with request(channel, SERVER_STREAM) as stream:
        await stream.send_message(Blob(b"abc"), end=True)
        assert [message.data async for message in stream] == [b"a", b"b", b"c"]
    async with request(channel, CLIENT_STREAM) as stream:
        for data in (b"a", b"", b"bc"):
            await stream.send_message(Blob(data))
        await stream.end()
        answer = await stream.recv_message()
    assert answer == Blob(b"abc")
    async with request(channel, BOTH_STREAM) as stream:
        for data in (b"first", b"second"):  # in turns: the answer comes before the next is sent
            await stream.send_message(Blob(data))
            assert await stream.recv_message() == Blob(data)
        await stream.end()
        assert await stream.recv_message() is None


async def failed(
    channel: Channel,
    *,
    data: bytes = b"x",
    timeout: float | None = None,
    metadata: MetadataLike | None = None,
) -> GRPCError:
    """Return the error of a unary call that must fail."""
    try:
        answer = await call(channel, data, timeout=timeout, metadata=metadata)
    except GRPCError as exc:
        return exc
    raise AssertionError(f"the call succeeded, with {len(answer)} bytes")
