"""Keepalive pings pass between grpcio and us, and a peer that does not answer them is dropped.

A test makes the peer silent by holding its bytes on the way.
"""

from __future__ import annotations

import grpc
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, PingFrame

from minicloud.http2.config import Http2Limits, Timeouts
from minicloud.rpc.config import ChannelConfig, ServerLimits
from tests.interop import ours, theirs
from tests.interop.ours import UNARY, Stream, our_channel, our_server
from tests.interop.theirs import WAIT_S, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, Wiretap, wiretap

EVERY_MS = 50
EVERY_S = EVERY_MS / 1000
PINGS = 2

# grpcio's client sends its second ping a second after the first, whatever it is told.
PINGING = [
    ("grpc.keepalive_time_ms", EVERY_MS),
    ("grpc.keepalive_timeout_ms", 300),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_time_between_pings_ms", EVERY_MS),
]
# And takes frequent ones for an attack unless told what to expect.
PINGABLE = [
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
]
PERMISSIVE = Http2Limits(min_ping_interval_s=0)
OUR_PINGS = Timeouts(keepalive_s=EVERY_S, keepalive_timeout_s=0.3)


def answers(tap: Wiretap, side: Side) -> int:
    return sum("ACK" in frame.flags for frame in tap.frames(side, PingFrame))


async def test_our_server_answers_the_pings_of_grpcio() -> None:
    async with our_server(limits=ServerLimits(http2=PERMISSIVE)) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, PINGING) as channel:
            assert await theirs.call(channel) == b"x"
            await tap.until(lambda: answers(tap, Side.SERVER) >= PINGS)
            assert await theirs.call(channel) == b"x"
        assert tap.connections == 1


async def test_grpcio_server_answers_our_clients_pings() -> None:
    config = ChannelConfig(timeouts=OUR_PINGS)
    async with (
        grpcio_server(options=PINGABLE) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port, config=config) as channel,
    ):
        assert await ours.call(channel) == b"x"
        await tap.until(lambda: answers(tap, Side.SERVER) >= PINGS)
        assert await ours.call(channel) == b"x"
        assert tap.connections == 1


async def test_grpcio_client_answers_our_servers_pings() -> None:
    async with our_server(limits=ServerLimits(timeouts=OUR_PINGS)) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            assert await theirs.call(channel) == b"x"
            await tap.until(lambda: answers(tap, Side.CLIENT) >= PINGS)
            assert await theirs.call(channel) == b"x"
        assert tap.connections == 1


async def test_our_client_answers_the_pings_of_grpcio_server_however_many() -> None:
    more_than_we_allow_clients = Http2Limits().max_ping_strikes + 3
    async with (
        grpcio_server(options=PINGING) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        assert await ours.call(channel) == b"x"
        await tap.until(lambda: answers(tap, Side.CLIENT) >= more_than_we_allow_clients)
        assert await ours.call(channel) == b"x"
        assert tap.connections == 1


async def test_silent_grpcio_client_is_dropped_and_its_handler_cancelled() -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(stream: Stream) -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    limits = ServerLimits(timeouts=OUR_PINGS)
    async with our_server({UNARY: handler}, limits=limits) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            future = channel.unary_unary(UNARY).future(b"x", timeout=WAIT_S)
            await started.wait()
            tap.hold(Side.CLIENT)
            await cancelled.wait()
            tap.release(Side.CLIENT)
            error = await in_thread(future.exception)
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_silent_grpcio_server_fails_the_call_of_our_client_and_the_next_connects_anew() -> None:
    config = ChannelConfig(timeouts=OUR_PINGS)
    async with (
        grpcio_server(options=PINGABLE) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port, config=config) as channel,
    ):
        assert await ours.call(channel) == b"x"
        tap.hold(Side.SERVER)
        error = await ours.failed(channel)
        tap.release(Side.SERVER)
        assert await ours.call(channel) == b"x"
        assert tap.connections == 2
    assert error.status is Status.UNAVAILABLE
    assert "keepalive" in (error.message or "")


async def test_grpcio_that_pings_too_often_is_told_so_and_connects_anew() -> None:
    limits = ServerLimits(http2=Http2Limits(max_ping_strikes=0))
    async with our_server(limits=limits) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, PINGING) as channel:
            assert await theirs.call(channel) == b"x"
            await tap.until(lambda: bool(tap.frames(Side.SERVER, GoAwayFrame)))
            (goaway,) = tap.frames(Side.SERVER, GoAwayFrame)
            assert await theirs.call(channel) == b"x"
    assert goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    assert goaway.additional_data == b"too_many_pings"


async def test_our_client_that_pings_grpcio_too_often_hears_so_and_connects_anew() -> None:
    config = ChannelConfig(timeouts=OUR_PINGS)
    async with (
        grpcio_server() as up,
        wiretap(up.port) as tap,
        our_channel(tap.port, config=config) as channel,
    ):
        assert await ours.call(channel) == b"x"
        await tap.until(lambda: tap.open_connections == 0)
        (goaway,) = tap.frames(Side.SERVER, GoAwayFrame)
        assert await ours.call(channel) == b"x"
    assert goaway.additional_data == b"too_many_pings"
