"""What the tests of `rpc` share: services, a server and a channel joined in memory, and a peer that speaks
HTTP/2 frame by frame, rightly or wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from hpack import Decoder, Encoder
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.rpc.channel import Channel, Connect
from minicloud.rpc.config import ChannelConfig, Http2Limits, ServerLimits
from minicloud.rpc.connection import PREFACE, Connection
from minicloud.rpc.events import Event, HeadersReceived
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
    """Handlers by path."""

    def __init__(self, handlers: Mapping[str, HandlerFunc]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> Mapping[str, Handler]:
        return {
            path: Handler(func, _CARDINALITIES[path], HeartbeatRequest, HeartbeatResponse)
            for path, func in self._handlers.items()
        }


async def answer(stream: Stream) -> None:
    """The length of the request's worker id."""
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
    """Keeps what an observer is told."""

    finished: list[tuple[str, Status, float]]

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        self.finished.append((method, status, duration_s))


def make_server(
    handlers: Mapping[str, HandlerFunc],
    *,
    limits: ServerLimits | None = None,
    observer: Observer | None = None,
    translate: Callable[[Exception], GRPCError | None] = lambda exc: None,
) -> Server:
    return Server(
        [Service(handlers)], random=Random(1), limits=limits, observer=observer, translate=translate
    )


def connect_to(server: Server, nursery: trio.Nursery) -> Connect:
    """A channel's `connect` that ends in `server`, in memory."""

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
    translate: Callable[[Exception], GRPCError | None] = lambda exc: None,
) -> AsyncIterator[tuple[Server, Channel]]:
    """A server with `handlers` and a channel to it."""
    server = make_server(handlers, limits=limits, observer=observer, translate=translate)
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
    """A unary call; what `reply` was given."""
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


# Frame by frame

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4

NO_ERROR, PROTOCOL_ERROR, CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x8, 0x7, 0xB
FRAME_SIZE_ERROR = 0x6


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def error_code(self) -> int:
        """Of a RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8], "big")


def frame_bytes(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def message_bytes(data: bytes, *, compressed: bool = False, size: int | None = None) -> bytes:
    """A length-prefixed message, truthful or, with `size`, not."""
    return bytes([compressed]) + (len(data) if size is None else size).to_bytes(4, "big") + data


REQUEST_HEADERS: dict[bytes, bytes] = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": UNARY.encode(),
    b":authority": b"test",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
}


class RawPeer:
    """The client's end of a connection to `server`, played by hand."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.frames: list[Frame] = []  # received and not yet looked at
        self.closed = False
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._inbox = bytearray()

    async def start(self) -> None:
        await self.stream.send_all(PREFACE + frame_bytes(SETTINGS, 0, 0))

    async def send(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        await self.stream.send_all(frame_bytes(kind, flags, stream_id, payload))

    def header_block(self, changed: Mapping[bytes, bytes | None] | None = None) -> bytes:
        headers = {**REQUEST_HEADERS, **(changed or {})}
        return self._encoder.encode([(k, v) for k, v in headers.items() if v is not None])

    async def request(
        self,
        stream_id: int,
        changed: Mapping[bytes, bytes | None] | None = None,
        body: bytes | None = b"\0\0\0\0\0",
        *,
        end: bool = True,
    ) -> None:
        """A call's headers, `changed` from the usual ones, and a body, which an empty message parses from."""
        block = self.header_block(changed)
        if body is None:
            await self.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block)
            return
        data = frame_bytes(HEADERS, END_HEADERS, stream_id, block)
        await self.stream.send_all(data + frame_bytes(DATA, END_STREAM if end else 0, stream_id, body))

    async def read(self) -> bool:
        """Receive something; False at the end."""
        try:
            data = await self.stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self.closed = True
            return False
        self._inbox += data
        while len(self._inbox) >= 9 and len(self._inbox) >= 9 + int.from_bytes(self._inbox[:3], "big"):
            end = 9 + int.from_bytes(self._inbox[:3], "big")
            raw = bytes(self._inbox[:end])
            del self._inbox[:end]
            headers: list[tuple[str, str]] = []
            if raw[3] == HEADERS:  # all of them, in their order, or the table of names goes wrong
                decoded = self._decoder.decode(raw[9:], raw=True)
                headers = [(bytes(k).decode(), bytes(v).decode()) for k, v in decoded]
            stream_id = int.from_bytes(raw[5:9], "big")
            self.frames.append(Frame(raw[3], raw[4], stream_id, raw[9:], tuple(headers)))
        return True

    async def expect(self, kind: int, stream_id: int | None = None) -> Frame:
        """The next frame of this kind (and stream); those before it are dropped."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if frame.kind == kind and stream_id in (None, frame.stream_id):
                    return frame
            assert await self.read(), f"connection closed while waiting for frame {kind}"

    async def expect_headers(self, stream_id: int) -> dict[str, str]:
        return dict((await self.expect(HEADERS, stream_id)).headers)

    async def expect_close(self) -> list[Frame]:
        """All frames up to the end of the connection."""
        while await self.read():
            pass
        return self.frames


@asynccontextmanager
async def raw_peer(server: Server) -> AsyncIterator[RawPeer]:
    """A peer connected to `server` in memory, that has said nothing yet."""
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, far)
        await wait_all_tasks_blocked()
        yield RawPeer(near)
        nursery.cancel_scope.cancel()


class PlayedServer:
    """The server's end of a channel's connection, played by hand on our own sans-io connection."""

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
        """The next event of this kind; those before it are dropped."""
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
            self.events += self.connection.receive(data, 0)

    async def request(self) -> int:
        """The stream of the next call."""
        return (await self.expect(HeadersReceived)).stream_id

    async def respond(
        self, stream_id: int, *, message: bytes | None = b"", trailers: Mapping[bytes, bytes] | None = None
    ) -> None:
        """Answer like a server that knows how, but for `trailers`."""
        if message is not None:
            headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
            self.connection.send_headers(stream_id, headers)
            self.connection.send_data(stream_id, message_bytes(message))
        ending = {b"grpc-status": b"0"} if trailers is None else trailers
        self.connection.send_headers(stream_id, list(ending.items()), end_stream=True)
        await self.flush()


class PlayedServers:
    """A channel's `connect` whose connections a test plays, one after the other."""

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
