"""This module has a server for a channel that a test plays by hand, and a channel to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from trio.testing import memory_stream_pair

from minicloud.http2.config import Http2Limits
from minicloud.http2.connection import Connection
from minicloud.http2.events import Event, HeadersReceived
from minicloud.net.backoff import Backoff
from minicloud.rpc.channel import Channel
from minicloud.rpc.client_stream import ClientStream
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.connecting import Connect
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
)
from tests.unit.http2.connection_pair import received
from tests.unit.rpc.raw_peer import message_bytes
from tests.unit.rpc.support import UNARY, E, call


class PlayedServer:
    """A `PlayedServer` is the server's end of a channel's connection, played on our own sans-io
    connection."""

    def __init__(self, stream: trio.abc.Stream, limits: Http2Limits | None = None) -> None:
        self.stream = stream
        self.connection = Connection(client=False, limits=limits or Http2Limits(), now_s=0)
        self.events: list[Event] = []
        self.closed = False

    async def flush(self) -> None:
        data = self.connection.data_to_send()
        if data:
            await self.stream.send_all(data)

    async def expect(self, kind: type[E]) -> E:
        """Return the next event of this kind; those before it are dropped."""
        while True:
            await self.flush()
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self.stream.receive_some()
            if not data:
                self.closed = True
                raise EOFError
            self.events += received(self.connection, data)

    async def request(self) -> int:
        """Return the stream of the next call."""
        return (await self.expect(HeadersReceived)).stream_id

    async def respond(
        self, stream_id: int, *, message: bytes | None = b"", trailers: Mapping[bytes, bytes] | None = None
    ) -> None:
        """Answer as a correct server does, except for `trailers`."""
        if message is not None:
            headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
            self.connection.send_headers(stream_id, headers)
            self.connection.send_data(stream_id, message_bytes(message))
        ending = {b"grpc-status": b"0"} if trailers is None else trailers
        self.connection.send_headers(stream_id, list(ending.items()), end_stream=True)
        await self.flush()


class PlayedServers:
    """A `PlayedServers` is a channel's `connect` whose connections a test plays, one after the other."""

    def __init__(self, limits: Http2Limits | None = None) -> None:
        self.connects = 0
        self._limits = limits
        self._send, self._receive = trio.open_memory_channel[PlayedServer](100)

    async def connect(self) -> trio.abc.Stream:
        self.connects += 1
        near, far = memory_stream_pair()
        self._send.send_nowait(PlayedServer(far, self._limits))
        return near

    async def next(self) -> PlayedServer:
        server = await self._receive.receive()
        await server.flush()
        return server


# No jitter to speak of, so that times can be told.
STEADY = Backoff(initial_s=10, max_s=10)


class Late(Random):
    """A `Late` draws the longest delay."""

    def uniform(self, a: float, b: float) -> float:
        return b


@asynccontextmanager
async def channel_to(*connects: Connect, config: ChannelConfig | None = None) -> AsyncIterator[Channel]:
    async with trio.open_nursery() as nursery:
        yield Channel(nursery, connects, random=Late(), config=config)
        nursery.cancel_scope.cancel()


async def refuse() -> trio.abc.Stream:
    raise ConnectionRefusedError("nobody there")


async def hang() -> trio.abc.Stream:
    await trio.sleep_forever()
    raise AssertionError


async def failing(channel: Channel, *, timeout: float | None = None) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await call(channel, timeout=timeout)
    return caught.value


def unary(channel: Channel) -> ClientStream[HeartbeatRequest, HeartbeatResponse]:
    return channel.request(UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse)


OK_HEADERS = {b":status": b"200", b"content-type": b"application/grpc"}
