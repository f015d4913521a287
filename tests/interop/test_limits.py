"""The limits of connections hold between grpcio and us: streams at once, connections, idleness, age."""

from __future__ import annotations

import threading

import grpc
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from minicloud.http2.config import Http2Limits, Timeouts
from minicloud.rpc.config import ServerLimits
from tests.interop import ours, theirs
from tests.interop.ours import BOTH_STREAM, UNARY, Blob, Stream, our_channel, our_server
from tests.interop.theirs import WAIT_S, Context, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, wiretap

STREAMS = 3
CALLS = 3 * STREAMS


async def test_grpcio_keeps_to_our_limit_of_streams_at_once_and_all_calls_succeed() -> None:
    running = most = 0
    full = trio.Event()

    async def handler(stream: Stream) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == STREAMS:
            full.set()
        await full.wait()
        await ours.echo(stream)
        running -= 1

    limits = ServerLimits(http2=Http2Limits(max_concurrent_streams=STREAMS))
    async with our_server({UNARY: handler}, limits=limits) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            method = channel.unary_unary(UNARY)
            futures = [method.future(bytes([number]), timeout=WAIT_S) for number in range(CALLS)]
            answers = [await in_thread(future.result) for future in futures]
        assert tap.connections == 1
    assert answers == [bytes([number]) for number in range(CALLS)]
    assert most == STREAMS


async def test_our_client_keeps_to_grpcios_limit_of_streams_at_once_and_all_calls_succeed() -> None:
    lock = threading.Lock()
    running = most = 0
    full = threading.Event()

    def handler(request: bytes, context: Context) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == STREAMS:
                full.set()
        full.wait(WAIT_S)
        with lock:
            running -= 1
        return request

    answers: list[bytes] = []

    async def call(number: int) -> None:
        answers.append(await ours.call(channel, bytes([number]), timeout=WAIT_S))

    options = [("grpc.max_concurrent_streams", STREAMS)]
    async with (
        grpcio_server({UNARY: handler}, options=options) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        async with trio.open_nursery() as nursery:
            for number in range(CALLS):
                nursery.start_soon(call, number)
        assert tap.connections == 1
    assert sorted(answers) == [bytes([number]) for number in range(CALLS)]
    assert most == STREAMS


# Connections


async def test_connection_of_grpcio_beyond_our_limit_is_refused_until_another_ends() -> None:
    limits = ServerLimits(max_connections=1)
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
    async with our_server(limits=limits) as up:
        with grpcio_channel(up.port, options) as first:
            assert await theirs.call(first) == b"x"
            with grpcio_channel(up.port, options) as second:
                assert (await theirs.failed(second)).code() is grpc.StatusCode.UNAVAILABLE
                assert await theirs.call(first) == b"x"
                await in_thread(first.close)
                assert await theirs.call(second, wait_for_ready=True) == b"x"


async def test_grpcio_is_told_to_go_away_when_idle_and_comes_back_without_losing_a_call() -> None:
    limits = ServerLimits(timeouts=Timeouts(max_idle_s=0.1))
    async with our_server(limits=limits) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            assert await theirs.call(channel) == b"x"
            await tap.until(lambda: tap.open_connections == 0)
            assert [frame.error_code for frame in tap.frames(Side.SERVER, GoAwayFrame)] == [
                ErrorCodes.NO_ERROR
            ] * 2
            assert await theirs.call(channel) == b"x"
        assert tap.connections == 2


async def test_our_client_is_told_to_go_away_when_idle_and_comes_back_without_losing_a_call() -> None:
    options = [("grpc.max_connection_idle_ms", 100)]
    async with (
        grpcio_server(options=options) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        assert await ours.call(channel) == b"x"
        await tap.until(lambda: tap.open_connections == 0)
        assert await ours.call(channel) == b"x"
        assert tap.connections == 2
        assert tap.frames(Side.SERVER, GoAwayFrame)[0].additional_data == b"connection idle"


async def test_connection_of_grpcio_that_reaches_our_maximum_age_finishes_its_calls() -> None:
    limits = ServerLimits(timeouts=Timeouts(max_age_s=0.1))
    async with our_server(limits=limits) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            go_on = threading.Event()
            call = channel.stream_stream(BOTH_STREAM)(theirs.in_two(go_on), timeout=WAIT_S)
            assert await in_thread(next, call) == b"before"
            await tap.until(lambda: len(tap.frames(Side.SERVER, GoAwayFrame)) == 2)
            assert await theirs.call(channel) == b"x"
            assert tap.connections == 2
            go_on.set()
            assert await in_thread(list, call) == [b"after"]


async def test_connection_of_ours_that_reaches_grpcios_maximum_age_finishes_its_calls() -> None:
    options = [("grpc.max_connection_age_ms", 100)]
    async with (
        grpcio_server(options=options) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, BOTH_STREAM) as stream,
    ):
        await stream.send_message(Blob(b"before"))
        assert await stream.recv_message() == Blob(b"before")
        await tap.until(lambda: len(tap.frames(Side.SERVER, GoAwayFrame)) == 2)
        assert await ours.call(channel) == b"x"
        assert tap.connections == 2
        await stream.send_message(Blob(b"after"), end=True)
        assert await stream.recv_message() == Blob(b"after")
        assert await stream.recv_message() is None
