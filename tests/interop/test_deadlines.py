"""Deadlines and cancellation work between grpcio and us, both ways.

Both ends keep a deadline, and either may report it first. To show that a server keeps it by itself, a test
holds the client's bytes on the way once the call has started.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from tests.interop import ours, theirs
from tests.interop.ours import BOTH_STREAM, SERVER_STREAM, UNARY, Blob, Stream, our_channel, our_server
from tests.interop.theirs import WAIT_S, Context, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, wiretap

DEADLINE_S = 0.25


class Handler:
    """A `Handler` of ours never answers, and records how its call ends."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.cancelled = trio.Event()
        self.left_s: float | None = None

    async def __call__(self, stream: Stream) -> None:
        if stream.deadline is not None:
            self.left_s = stream.deadline.time_remaining()
        self.started.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.set()
            raise


class GrpcioHandler:
    """A `GrpcioHandler` waits until its call has ended, and records how."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.over = threading.Event()
        self.left_s: float | None = None
        self.active: bool | None = None

    def __call__(self, request: bytes, context: Context) -> bytes:
        self.left_s = context.time_remaining()
        context.add_callback(self.over.set)
        self.started.set()
        self.over.wait(WAIT_S)
        self.active = context.is_active()
        return b""


async def test_deadline_of_grpcio_is_kept_by_both_ends_each_for_itself() -> None:
    handler = Handler()
    async with our_server({UNARY: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            future = channel.unary_unary(UNARY).future(b"x", timeout=DEADLINE_S)
            await handler.started.wait()
            tap.hold(Side.CLIENT)
            tap.hold(Side.SERVER)
            assert await up.ends.wait(1) == [(UNARY, Status.DEADLINE_EXCEEDED)]
            error = await in_thread(future.exception, WAIT_S)
    assert handler.cancelled.is_set()
    assert handler.left_s is not None
    assert 0 < handler.left_s <= DEADLINE_S
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_deadline_of_ours_is_kept_by_both_ends_each_for_itself() -> None:
    handler = GrpcioHandler()
    async with (
        grpcio_server({UNARY: handler}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, UNARY, timeout=DEADLINE_S) as stream,
    ):
        await stream.send_message(Blob(b"x"), end=True)
        assert await in_thread(handler.started.wait, WAIT_S)
        tap.hold(Side.CLIENT)
        tap.hold(Side.SERVER)
        with pytest.raises(GRPCError) as caught:
            await stream.recv_message()
        assert await in_thread(handler.over.wait, WAIT_S)
    assert handler.left_s is not None
    assert 0 < handler.left_s <= DEADLINE_S
    assert handler.active is False
    assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_deadline_that_our_server_says_has_passed_is_that_to_grpcio() -> None:
    """The server is first: a client whose clock or network is slow gets the error from the server."""

    async def handler(stream: Stream) -> None:
        stream.scope.deadline = trio.current_time()
        await trio.sleep_forever()

    async with our_server({UNARY: handler}) as up:
        with grpcio_channel(up.port) as channel:
            error = await theirs.failed(channel)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "deadline exceeded"


async def test_call_without_deadline_has_none_at_either_server() -> None:
    deadlines: list[object] = []
    left_s: list[float] = []

    async def handler(stream: Stream) -> None:
        deadlines.append(stream.deadline)
        await ours.echo(stream)

    def grpcio_handler(request: bytes, context: Context) -> bytes:
        left_s.append(context.time_remaining())
        return request

    async with our_server({UNARY: handler}) as up:
        with grpcio_channel(up.port) as channel:
            await theirs.call(channel, timeout=None)
    async with (
        grpcio_server({UNARY: grpcio_handler}) as stock,
        wiretap(stock.port) as tap,
        our_channel(tap.port) as channel,
    ):
        await ours.call(channel)
        (request,) = tap.headers(Side.CLIENT)
    assert "grpc-timeout" not in request
    assert deadlines == [None]
    assert left_s[0] > 10**9  # how grpcio says never


async def test_cancelling_in_grpcio_ends_our_handler_and_nothing_else() -> None:
    handler = Handler()
    async with our_server({UNARY: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            go_on = threading.Event()
            future = channel.unary_unary(UNARY).future(b"x")
            other = channel.stream_stream(BOTH_STREAM)(theirs.in_two(go_on), timeout=WAIT_S)
            assert await in_thread(next, other) == b"before"
            await handler.started.wait()
            future.cancel()
            await handler.cancelled.wait()
            go_on.set()
            assert await in_thread(list, other) == [b"after"]
            ends = dict(await up.ends.wait(2))
        (reset,) = tap.frames(Side.CLIENT, RstStreamFrame)
        assert tap.connections == 1
    assert ends == {UNARY: Status.CANCELLED, BOTH_STREAM: Status.OK}
    assert reset.error_code == ErrorCodes.CANCEL


async def test_cancelling_in_grpcio_ends_a_handler_of_ours_that_is_sending() -> None:
    cancelled = trio.Event()

    async def handler(stream: Stream) -> None:
        try:
            while True:
                await stream.send_message(Blob(bytes(1000)))
        except trio.Cancelled:
            cancelled.set()
            raise

    async with our_server({SERVER_STREAM: handler}) as up:
        with grpcio_channel(up.port) as channel:
            messages = channel.unary_stream(SERVER_STREAM)(b"x")
            assert await in_thread(next, messages) == bytes(1000)
            messages.cancel()
            await cancelled.wait()
            assert await theirs.call(channel) == b"x"


async def test_cancelling_at_our_end_ends_the_call_of_grpcio_and_nothing_else() -> None:
    handler = GrpcioHandler()
    async with (
        grpcio_server({UNARY: handler}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, BOTH_STREAM) as other,
        trio.open_nursery() as nursery,
    ):
        await other.send_request()
        nursery.start_soon(ours.call, channel)
        assert await in_thread(handler.started.wait, WAIT_S)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert await in_thread(handler.over.wait, WAIT_S)
            await other.send_message(Blob(b"a"), end=True)
            assert await other.recv_message() == Blob(b"a")
            assert await other.recv_message() is None
    assert handler.active is False
    (reset,) = tap.frames(Side.CLIENT, RstStreamFrame)
    assert reset.error_code == ErrorCodes.CANCEL


async def test_stream_left_early_at_our_end_ends_the_call_of_grpcio() -> None:
    over = threading.Event()

    def handler(request: bytes, context: Context) -> Iterator[bytes]:
        context.add_callback(over.set)
        while context.is_active():
            yield bytes(1000)

    async with grpcio_server({SERVER_STREAM: handler}) as up, our_channel(up.port) as channel:
        async with ours.request(channel, SERVER_STREAM) as stream:
            await stream.send_message(Blob(b"x"), end=True)
            assert await stream.recv_message() == Blob(bytes(1000))
        assert await in_thread(over.wait, WAIT_S)
        assert await ours.call(channel) == b"x"


async def test_call_our_handler_cancels_is_cancelled_to_grpcio() -> None:
    async def handler(stream: Stream) -> None:
        await stream.cancel()

    async with our_server({UNARY: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            error = await theirs.failed(channel)
        (reset,) = tap.frames(Side.SERVER, RstStreamFrame)
    assert error.code() is grpc.StatusCode.CANCELLED
    assert reset.error_code == ErrorCodes.CANCEL


async def test_call_a_handler_of_grpcio_cancels_is_cancelled_to_us() -> None:
    def handler(request: bytes, context: Context) -> bytes:
        context.cancel()
        return b""

    async with grpcio_server({UNARY: handler}) as up, our_channel(up.port) as channel:
        error = await ours.failed(channel)
    assert error.status is Status.CANCELLED


async def test_channel_of_grpcio_that_closes_ends_our_handler() -> None:
    handler = Handler()
    async with our_server({UNARY: handler}) as up:
        with grpcio_channel(up.port) as channel:
            future = channel.unary_unary(UNARY).future(b"x")
            await handler.started.wait()
        assert await up.ends.wait(1) == [(UNARY, Status.CANCELLED)]
    assert future.code() is grpc.StatusCode.CANCELLED


async def test_connection_of_grpcio_that_breaks_ends_our_handler() -> None:
    handler = Handler()
    async with our_server({UNARY: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            future = channel.unary_unary(UNARY).future(b"x")
            await handler.started.wait()
            tap.cut()
            await handler.cancelled.wait()
            error = await in_thread(future.exception, WAIT_S)
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_connection_of_ours_that_breaks_ends_the_call_at_both_ends() -> None:
    handler = GrpcioHandler()
    async with (
        grpcio_server({UNARY: handler}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, UNARY) as stream,
    ):
        await stream.send_message(Blob(b"x"), end=True)
        assert await in_thread(handler.started.wait, WAIT_S)
        tap.cut()
        with pytest.raises(GRPCError) as caught:
            await stream.recv_message()
        assert await in_thread(handler.over.wait, WAIT_S)
    assert caught.value.status is Status.UNAVAILABLE


async def test_channel_of_ours_that_closes_ends_the_call_of_grpcio() -> None:
    handler = GrpcioHandler()
    async with grpcio_server({UNARY: handler}) as up:
        async with our_channel(up.port) as channel:
            stream = ours.request(channel, UNARY)
            await stream.send_message(Blob(b"x"), end=True)
            assert await in_thread(handler.started.wait, WAIT_S)
        assert await in_thread(handler.over.wait, WAIT_S)
    assert handler.active is False
