"""Closed connections and failed calls are freed at once, without the garbage collector."""

from __future__ import annotations

import gc
import gzip
import weakref
from collections.abc import Callable, Iterator, Mapping

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.rpc.call import Call
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.interceptors import translating
from minicloud.rpc.server import Server
from tests.unit.http2.raw_frames import PROTOCOL_ERROR, RST_STREAM, frame_bytes
from tests.unit.rpc.raw_peer import RawPeer, message_bytes
from tests.unit.rpc.support import SERVER_STREAM, UNARY, Stream, answer, call, joined, make_server, status_of


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def refuse(stream: Stream) -> None:
    await stream.recv_message()
    raise GRPCError(Status.ABORTED, "no")


async def refuse_in_a_nursery(stream: Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse, stream)


async def crash(stream: Stream) -> None:
    raise RuntimeError("a fault of ours")


async def bad_details(stream: Stream) -> None:
    raise GRPCError(Status.ABORTED, "x", ["no message"])


async def wait(stream: Stream) -> None:
    await stream.recv_message()
    await trio.sleep_forever()


HANDLERS = {UNARY: answer, SERVER_STREAM: wait}
GZIP = {b"grpc-encoding": b"gzip"}
BOMB = message_bytes(gzip.compress(bytes(100_000), mtime=0), compressed=True)
TOO_LARGE = message_bytes(b"", size=5000)


@pytest.mark.parametrize(
    ("handler", "changed", "body"),
    [
        (answer, {}, b"\0\0\0\0\0"),
        (refuse, {}, b"\0\0\0\0\0"),
        (refuse_in_a_nursery, {}, b"\0\0\0\0\0"),
        (crash, {}, b"\0\0\0\0\0"),
        (bad_details, {}, b"\0\0\0\0\0"),
        (answer, GZIP, BOMB),
        (answer, {}, TOO_LARGE),
        (answer, {}, b"\7\0\0\0\0"),
        (answer, {}, b""),
        (answer, {b":path": SERVER_STREAM.encode()}, b"\0\0\0\0\0"),
        (answer, {b":path": b"/nope"}, b"\0\0\0\0\0"),
        (answer, {b":method": b"GET"}, b""),
        (answer, {b"Key": b"v"}, b""),
    ],
)
@pytest.mark.parametrize("ending", ["left", "reset", "broken"])
async def test_connection_that_ended_is_freed(
    handler: object, changed: Mapping[bytes, bytes], body: bytes, ending: str, no_collector: None
) -> None:
    with capture_logs() as logs:
        server = make_server(
            {UNARY: handler, SERVER_STREAM: wait},  # type: ignore[dict-item]
            limits=ServerLimits(max_message_bytes=1000),
        )
        near, far = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve_connection, far)
            await wait_all_tasks_blocked()
            held = parts(server)
            peer = RawPeer(near)
            await peer.start()
            await peer.request(1, changed, body)
            await wait_all_tasks_blocked()
            (connection,) = server._connections
            held += [weakref.ref(call) for call in connection._calls.values()]
            del connection
            if ending == "reset":
                await peer.send(RST_STREAM, 0, 1, PROTOCOL_ERROR.to_bytes(4, "big"))
            if ending == "broken":
                await peer.stream.send_all(frame_bytes(0x6, 0, 1, bytes(8)))
            await wait_all_tasks_blocked()
            await near.aclose()
        logs.clear()
        assert [ref() for ref in held if ref() is not None] == []
        assert server.active_calls == server.open_connections == 0
        assert server.answers.output_bytes == 0


def parts(server: Server) -> list[weakref.ref[object]]:
    """Return the one connection and its parts."""
    (connection,) = server._connections
    transport = connection._transport
    engine = transport.connection._engine
    each: list[object] = [connection, transport, transport.connection, engine, engine._h2]
    return [weakref.ref(one) for one in each]


def as_aborted(exc: Exception) -> GRPCError:
    return GRPCError(Status.ABORTED, "translated")


@pytest.mark.parametrize("translate", [lambda exc: None, as_aborted])
@pytest.mark.parametrize("handler", [refuse, crash])
async def test_call_that_failed_is_freed_while_its_connection_goes_on(
    handler: object, translate: Callable[[Exception], GRPCError | None], no_collector: None
) -> None:
    calls: list[weakref.ref[Call]] = []

    async def noted(stream: Stream) -> None:
        calls.append(weakref.ref(stream))
        await handler(stream)  # type: ignore[operator]

    with capture_logs() as logs:
        async with joined({UNARY: noted}, interceptors=[translating(translate)]) as (_, channel):
            for _ in range(5):
                await status_of(channel)
            await wait_all_tasks_blocked()
            logs.clear()
            assert len(calls) == 5
            assert [ref() for ref in calls if ref() is not None] == []


async def test_many_compressed_messages_that_failed_leave_their_budget_and_nothing_else(
    no_collector: None,
) -> None:
    calls: list[weakref.ref[Call]] = []

    async def take(stream: Stream) -> None:
        calls.append(weakref.ref(stream))
        await stream.recv_message()
        raise GRPCError(Status.ABORTED, "no")

    server = make_server({UNARY: take})
    body = message_bytes(gzip.compress(bytes(4 << 20), mtime=0), compressed=True)
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, far)
        peer = RawPeer(near)
        await peer.start()
        for n in range(30):
            await peer.request(2 * n + 1, GZIP, body)
            await peer.expect_headers(2 * n + 1)
        await wait_all_tasks_blocked()
        assert len(calls) == 30
        assert [ref() for ref in calls if ref() is not None] == []
        assert server.budget.left_bytes == server.limits.max_received_bytes
        nursery.cancel_scope.cancel()


async def test_connection_of_a_channel_is_freed_when_it_has_ended(no_collector: None) -> None:
    held: list[weakref.ref[object]] = []
    async with joined(HANDLERS) as (server, channel):
        await call(channel)
        for connection in channel._all:
            held += [weakref.ref(connection), weakref.ref(connection.transport)]
        connection = None  # type: ignore[assignment]
        for each in server._connections:
            each._transport.close("test")
        each = None  # type: ignore[assignment]
        await wait_all_tasks_blocked()
        assert [ref() for ref in held if ref() is not None] == []
        await call(channel)
