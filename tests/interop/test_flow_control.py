"""Large messages, ends that do not read, and size limits work between grpcio and us, both ways.

The tests count on the wire what passes to an end that does not read: one stream window, and no byte more
until it reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import wait_all_tasks_blocked

from minicloud.http2.config import MIB
from minicloud.rpc.config import ChannelConfig, ServerLimits
from tests.interop import ours, theirs
from tests.interop.ours import CLIENT_STREAM, SERVER_STREAM, Blob, Stream, our_channel, our_server
from tests.interop.theirs import ANY_SIZE, WAIT_S, Context, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, Wiretap, wiretap

LARGE = bytes(range(250)) * 200_000  # 50 MB
LARGE_LIMIT = 64 * MIB

# What a stream may carry unread; grpcio's grows with what it measures of the path unless told not to.
WINDOW_BYTES = 65_535
STEADY_WINDOW = (("grpc.http2.bdp_probe", 0),)
CHUNK = bytes(16_000)
# Far more than any window and buffer on the way.
CHUNKS = 250


async def test_message_of_50_mb_passes_from_grpcio_to_our_server_and_back() -> None:
    async with our_server(limits=ServerLimits(max_message_bytes=LARGE_LIMIT)) as up:
        with grpcio_channel(up.port, ANY_SIZE) as channel:
            assert await theirs.call(channel, LARGE) == LARGE


async def test_message_of_50_mb_passes_from_our_client_to_grpcio_and_back() -> None:
    config = ChannelConfig(max_message_bytes=LARGE_LIMIT)
    async with grpcio_server(options=ANY_SIZE) as up, our_channel(up.port, config=config) as channel:
        assert await ours.call(channel, LARGE) == LARGE


# An end that does not read


async def test_handler_of_ours_is_held_while_grpcio_does_not_read() -> None:
    sent = 0

    async def handler(stream: Stream) -> None:
        nonlocal sent
        for _ in range(CHUNKS):
            await stream.send_message(Blob(CHUNK))
            sent += 1

    async with our_server({SERVER_STREAM: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, STEADY_WINDOW) as channel:
            messages = channel.unary_stream(SERVER_STREAM)(b"x", timeout=WAIT_S)
            await _stalled(tap, Side.SERVER)
            assert tap.data_bytes(Side.SERVER) == WINDOW_BYTES
            assert sent == WINDOW_BYTES // len(CHUNK)
            assert await in_thread(lambda: [len(message) for message in messages]) == [len(CHUNK)] * CHUNKS


async def test_grpcio_handler_is_held_while_our_client_does_not_read() -> None:
    def handler(request: bytes, context: Context) -> Iterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK

    async with (
        grpcio_server({SERVER_STREAM: handler}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, SERVER_STREAM) as stream,
    ):
        await stream.send_message(Blob(b"x"), end=True)
        await _stalled(tap, Side.SERVER)
        assert tap.data_bytes(Side.SERVER) == WINDOW_BYTES
        assert [len(message.data) async for message in stream] == [len(CHUNK)] * CHUNKS


async def test_grpcio_client_is_held_while_our_handler_does_not_read() -> None:
    go_on = trio.Event()

    async def handler(stream: Stream) -> None:
        await go_on.wait()
        await stream.send_message(Blob(b"%d" % len([message async for message in stream])))

    async with our_server({CLIENT_STREAM: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            future = channel.stream_unary(CLIENT_STREAM).future(iter([CHUNK] * CHUNKS), timeout=WAIT_S)
            await _stalled(tap, Side.CLIENT)
            assert tap.data_bytes(Side.CLIENT) == WINDOW_BYTES
            assert await theirs.call(channel) == b"x"  # the connection is not held
            go_on.set()
            assert await in_thread(future.result) == b"%d" % CHUNKS


async def test_our_client_is_held_while_grpcio_handler_does_not_read() -> None:
    go_on = threading.Event()
    sent = 0

    def handler(requests: Iterator[bytes], context: Context) -> bytes:
        go_on.wait(WAIT_S)
        return b"%d" % len(list(requests))

    async def send_all(stream: ours.ClientCall) -> None:
        nonlocal sent
        for _ in range(CHUNKS):
            await stream.send_message(Blob(CHUNK))
            sent += 1
        await stream.end()

    async with (
        grpcio_server({CLIENT_STREAM: handler}, options=STEADY_WINDOW) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, CLIENT_STREAM) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send_all, stream)
        await _stalled(tap, Side.CLIENT)
        assert tap.data_bytes(Side.CLIENT) == WINDOW_BYTES
        assert sent == WINDOW_BYTES // len(CHUNK)
        assert await ours.call(channel) == b"x"  # the connection is not held
        go_on.set()
        assert await stream.recv_message() == Blob(b"%d" % CHUNKS)


async def _stalled(tap: Wiretap, side: Side) -> None:
    """Wait until a window's worth has passed, then long enough for an excess byte to be sent."""
    await tap.until(lambda: tap.data_bytes(side) >= WINDOW_BYTES)
    await wait_all_tasks_blocked(cushion=0.1)


# Size limits


async def test_message_over_our_servers_limit_is_exhausted_to_grpcio() -> None:
    async with our_server(limits=ServerLimits(max_message_bytes=1000)) as up:
        with grpcio_channel(up.port) as channel:
            assert await theirs.call(channel, bytes(1000)) == bytes(1000)
            error = await theirs.failed(channel, data=bytes(1001))
            assert await theirs.call(channel) == b"x"
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1001" in error.details()


async def test_message_over_grpcio_servers_limit_is_exhausted_to_us() -> None:
    options = [("grpc.max_receive_message_length", 1000)]
    async with grpcio_server(options=options) as up, our_channel(up.port) as channel:
        assert await ours.call(channel, bytes(1000)) == bytes(1000)
        error = await ours.failed(channel, data=bytes(1001))
        assert await ours.call(channel) == b"x"
    assert error.status is Status.RESOURCE_EXHAUSTED


async def test_answer_over_our_clients_limit_is_exhausted_and_ends_the_call_of_grpcio() -> None:
    over = threading.Event()

    def handler(request: bytes, context: Context) -> Iterator[bytes]:
        context.add_callback(over.set)
        yield bytes(1001)
        over.wait(WAIT_S)

    config = ChannelConfig(max_message_bytes=1000)
    async with (
        grpcio_server({SERVER_STREAM: handler}) as up,
        our_channel(up.port, config=config) as channel,
    ):
        async with ours.request(channel, SERVER_STREAM) as stream:
            await stream.send_message(Blob(b"x"), end=True)
            with pytest.raises(GRPCError) as caught:
                await stream.recv_message()
        assert await in_thread(over.wait, WAIT_S)
        assert await ours.call(channel) == b"x"
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


async def test_answer_over_grpcio_clients_limit_is_exhausted_and_ends_our_handler() -> None:
    async def handler(stream: Stream) -> None:
        await stream.send_message(Blob(bytes(1001)))
        await trio.sleep_forever()

    async with our_server({SERVER_STREAM: handler}) as up:
        with grpcio_channel(up.port, [("grpc.max_receive_message_length", 1000)]) as channel:
            messages = channel.unary_stream(SERVER_STREAM)(b"x", timeout=WAIT_S)
            error = await in_thread(_error_of, messages)
            assert await up.ends.wait(1) == [(SERVER_STREAM, Status.CANCELLED)]
            assert await theirs.call(channel) == b"x"
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def _error_of(messages: Iterator[bytes]) -> grpc.RpcError:
    try:
        next(messages)
    except grpc.RpcError as exc:
        return exc
    raise AssertionError("the call succeeded")
