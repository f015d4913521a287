"""Servers stop and start again between grpcio and us, both ways."""

from __future__ import annotations

import threading

import grpc
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from structlog.testing import capture_logs

from minicloud.net.backoff import Backoff
from minicloud.rpc.config import ChannelConfig
from tests.interop import ours, theirs
from tests.interop.ours import BOTH_STREAM, UNARY, Blob, Stream, our_channel, our_server
from tests.interop.theirs import WAIT_S, Context, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, wiretap

# What a call in flight may take to finish: longer than any test goes on.
GRACE_S = 30.0
QUICK_RETRIES = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
]


async def test_our_server_that_stops_finishes_the_calls_of_grpcio() -> None:
    go_on = threading.Event()
    stopped = trio.Event()

    async def stop() -> None:
        await up.server.stop(GRACE_S)
        stopped.set()

    async with our_server() as up, wiretap(up.port) as tap, trio.open_nursery() as nursery:
        with grpcio_channel(tap.port) as channel:
            call = channel.stream_stream(BOTH_STREAM)(theirs.in_two(go_on), timeout=WAIT_S)
            assert await in_thread(next, call) == b"before"
            nursery.start_soon(stop)
            await tap.until(lambda: len(tap.frames(Side.SERVER, GoAwayFrame)) == 2)
            refused = await theirs.failed(channel)
            assert not stopped.is_set()
            go_on.set()
            assert await in_thread(list, call) == [b"after"]
            await stopped.wait()
        goaways = tap.frames(Side.SERVER, GoAwayFrame)
        assert up.ends.calls == [(BOTH_STREAM, Status.OK)]
    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    assert [frame.error_code for frame in goaways] == [ErrorCodes.NO_ERROR] * 2
    assert goaways[1].last_stream_id == 1


async def test_grpcio_server_that_stops_finishes_our_calls() -> None:
    async with (
        grpcio_server() as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        trio.open_nursery() as nursery,
        ours.request(channel, BOTH_STREAM) as stream,
    ):
        await stream.send_message(Blob(b"before"))
        assert await stream.recv_message() == Blob(b"before")
        nursery.start_soon(up.stop, GRACE_S)
        await tap.until(lambda: len(tap.frames(Side.SERVER, GoAwayFrame)) == 2)
        refused = await ours.failed(channel)
        await stream.send_message(Blob(b"after"), end=True)
        assert await stream.recv_message() == Blob(b"after")
        assert await stream.recv_message() is None
    assert refused.status is Status.UNAVAILABLE


async def test_our_server_cancels_what_grace_does_not_suffice_for() -> None:
    started = trio.Event()

    async def handler(stream: Stream) -> None:
        started.set()
        await trio.sleep_forever()

    async with our_server({UNARY: handler}) as up:
        with grpcio_channel(up.port) as channel:
            future = channel.unary_unary(UNARY).future(b"x", timeout=WAIT_S)
            await started.wait()
            await up.server.stop(0.1)
            error = await in_thread(future.exception, WAIT_S)
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_grpcio_server_cancels_what_its_grace_does_not_suffice_for() -> None:
    started = threading.Event()

    def handler(request: bytes, context: Context) -> bytes:
        over = threading.Event()
        context.add_callback(over.set)
        started.set()
        over.wait(WAIT_S)
        return request

    async def stop() -> None:
        assert await in_thread(started.wait, WAIT_S)
        await up.stop(0.1)

    async with (
        grpcio_server({UNARY: handler}) as up,
        our_channel(up.port) as channel,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(stop)
        error = await ours.failed(channel)
    assert error.status in (Status.UNAVAILABLE, Status.CANCELLED)


async def test_calls_of_grpcio_that_come_while_our_server_stops_are_answered_or_unavailable() -> None:
    """No call fails with a status that a client would not retry."""
    async with our_server() as up:
        with grpcio_channel(up.port) as channel:
            method = channel.unary_unary(UNARY)
            futures = [method.future(b"x", timeout=WAIT_S) for _ in range(200)]
            await up.ends.wait(1)
            await up.server.stop(GRACE_S)
            errors = [await in_thread(future.exception, WAIT_S) for future in futures]
        answered = errors.count(None)
        assert up.ends.calls == [(UNARY, Status.OK)] * answered
    assert {error.code() for error in errors if error} <= {grpc.StatusCode.UNAVAILABLE}


# Coming back: the tap stays, so that it counts the attempts, and gets another server behind it.


async def test_our_client_reconnects_with_backoff_until_grpcio_server_is_back() -> None:
    backoff = Backoff(initial_s=0.05, max_s=0.2)
    config = ChannelConfig(backoff=backoff, wait_for_ready=True)
    answers: list[bytes] = []
    answered = trio.Event()

    async def call() -> None:
        answers.append(await ours.call(channel, b"waits for the server"))
        answered.set()

    async with (
        grpcio_server() as first,
        wiretap(first.port) as tap,
        our_channel(tap.port, config=config) as channel,
    ):
        assert await ours.call(channel) == b"x"
        await first.stop()
        with capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await tap.until(lambda: tap.connections >= 5)
                async with grpcio_server() as second:
                    tap.server_port = second.port
                    await answered.wait()
    delays_s = [line["retry_in_s"] for line in logs if line["event"] == "rpc_connect_failed"]
    assert answers == [b"waits for the server"]
    assert len(delays_s) >= 4
    assert all(delay_s <= backoff.ceiling_s(failures) + 0.001 for failures, delay_s in enumerate(delays_s))


async def test_our_client_fails_at_once_with_the_reason_while_grpcio_server_is_away() -> None:
    async with grpcio_server() as up, our_channel(up.port) as channel:
        assert await ours.call(channel) == b"x"
        await up.stop()
        error = await ours.failed(channel)
    assert error.status is Status.UNAVAILABLE
    assert error.message == f"cannot connect: 127.0.0.1:{up.port}: Connection refused"


async def test_grpcio_reconnects_until_our_server_is_back() -> None:
    async with our_server() as first, wiretap(first.port) as tap:
        with grpcio_channel(tap.port, QUICK_RETRIES) as channel:
            assert await theirs.call(channel) == b"x"
            await first.server.stop(GRACE_S)
            assert (await theirs.failed(channel)).code() is grpc.StatusCode.UNAVAILABLE
            future = channel.unary_unary(UNARY).future(b"waits", timeout=WAIT_S, wait_for_ready=True)
            await tap.until(lambda: tap.connections >= 4)
            async with our_server() as second:
                tap.server_port = second.port
                assert await in_thread(future.result) == b"waits"
                assert second.ends.calls == [(UNARY, Status.OK)]


async def test_call_after_our_server_was_replaced_is_no_failure_to_grpcio() -> None:
    async with our_server() as first, wiretap(first.port) as tap:
        with grpcio_channel(tap.port) as channel:
            assert await theirs.call(channel) == b"x"
            async with our_server() as second:
                tap.server_port = second.port
                await first.server.stop(GRACE_S)
                await tap.until(lambda: tap.open_connections == 0)
                assert await theirs.call(channel) == b"x"


async def test_call_after_grpcio_server_was_replaced_is_no_failure_to_us() -> None:
    async with grpcio_server() as first, wiretap(first.port) as tap, our_channel(tap.port) as channel:
        assert await ours.call(channel) == b"x"
        async with grpcio_server() as second:
            tap.server_port = second.port
            await first.stop()
            await tap.until(lambda: tap.open_connections == 0)
            assert await ours.call(channel) == b"x"
