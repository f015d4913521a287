"""A server's connections keep limits and timeouts and withstand hostile peers, in memory and on
virtual time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from minicloud.http2.config import Http2Limits
from minicloud.http2.connection import PREFACE
from minicloud.http2.frames import MAX_STREAM_ID
from minicloud.http2.transport import HIGH_WATER_BYTES, MAX_OUTPUT_BYTES
from minicloud.rpc.config import ServerLimits
from minicloud.wire.gen.minicloud.execution import HeartbeatResponse
from tests.unit.http2.raw_frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame_bytes,
)
from tests.unit.rpc.raw_peer import RawPeer, dropped, limits_with, raw_peer, serves
from tests.unit.rpc.support import SERVER_STREAM, UNARY, Stream, answer, make_server, sleep_for_ever

# Peers that do not speak HTTP/2, or not soon


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(50), b"\x16\x03\x01\x02\x00\x01"]
)
async def test_peer_that_speaks_something_else_is_dropped_with_one_line(data: bytes) -> None:
    server = make_server({UNARY: answer})
    with capture_logs() as logs:
        async with raw_peer(server) as peer:
            await peer.stream.send_all(data)
            frames = await peer.expect_close()
        assert await serves(server)
    assert frames[-1].kind == GOAWAY
    assert frames[-1].error_code == PROTOCOL_ERROR
    assert dropped(logs) == ["PROTOCOL_ERROR: not HTTP/2"]


@pytest.mark.parametrize("said", [b"", b"PRI * HT", PREFACE, PREFACE + frame_bytes(SETTINGS, 0, 0)[:5]])
async def test_peer_that_does_not_finish_the_handshake_is_dropped(
    said: bytes, autojump_clock: object
) -> None:
    server = make_server({UNARY: answer}, limits=limits_with(handshake_s=7))
    with capture_logs() as logs:
        async with raw_peer(server) as peer:
            started_s = trio.current_time()
            await peer.stream.send_all(said)
            await peer.expect_close()
            assert trio.current_time() - started_s == pytest.approx(7)
    assert dropped(logs) == ["no HTTP/2 preface and settings in time"]


async def test_peer_that_drips_its_handshake_is_dropped_in_the_same_time(autojump_clock: object) -> None:
    server = make_server({UNARY: answer}, limits=limits_with(handshake_s=7))
    async with raw_peer(server) as peer, trio.open_nursery() as nursery:

        async def drip() -> None:
            for byte in PREFACE + frame_bytes(SETTINGS, 0, 0):
                await peer.stream.send_all(bytes([byte]))
                await trio.sleep(1)

        nursery.start_soon(drip)
        started_s = trio.current_time()
        await peer.expect_close()
        assert trio.current_time() - started_s == pytest.approx(7)
        nursery.cancel_scope.cancel()


async def test_peer_that_drips_a_frame_is_not_taken_for_alive(autojump_clock: object) -> None:
    limits = limits_with(keepalive_s=30, keepalive_timeout_s=5)
    server = make_server({UNARY: sleep_for_ever}, limits=limits)
    async with raw_peer(server) as peer, trio.open_nursery() as nursery:
        await peer.start()
        await peer.request(1, end=False)

        async def drip() -> None:
            for byte in frame_bytes(DATA, 0, 1, bytes(1000)):
                await peer.stream.send_all(bytes([byte]))
                await trio.sleep(1)

        nursery.start_soon(drip)
        started_s = trio.current_time()
        await peer.expect_close()
        assert trio.current_time() - started_s == pytest.approx(35)
        nursery.cancel_scope.cancel()


# Keepalive and idleness


async def test_silent_peer_is_pinged_and_dropped_when_it_does_not_answer(autojump_clock: object) -> None:
    server = make_server({UNARY: answer}, limits=limits_with(keepalive_s=60, keepalive_timeout_s=20))
    with capture_logs() as logs:
        async with raw_peer(server) as peer:
            await peer.start()
            started_s = trio.current_time()
            ping = await peer.expect(PING)
            assert trio.current_time() - started_s == pytest.approx(60)
            await peer.send(PING, ACK, 0, ping.payload)
            await peer.expect(PING)
            assert trio.current_time() - started_s == pytest.approx(120)
            await peer.expect_close()
            assert trio.current_time() - started_s == pytest.approx(140)
    assert dropped(logs) == ["no answer to a keepalive ping"]


async def test_connection_without_calls_is_told_to_go_and_closed(autojump_clock: object) -> None:
    server = make_server({UNARY: answer}, limits=limits_with(max_idle_s=100))
    async with raw_peer(server) as peer:
        await peer.start()
        await trio.sleep(90)
        await peer.request(1)  # a call begins its idleness anew
        started_s = trio.current_time()
        await peer.expect(GOAWAY)
        assert trio.current_time() - started_s == pytest.approx(100)
        ping = await peer.expect(PING)
        await peer.send(PING, ACK, 0, ping.payload)
        await peer.expect_close()
        assert trio.current_time() - started_s == pytest.approx(100)


async def test_connection_with_a_call_is_not_idle(autojump_clock: object) -> None:
    server = make_server({UNARY: sleep_for_ever}, limits=limits_with(max_idle_s=100))
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1)
        with trio.move_on_after(1000):
            await peer.expect(GOAWAY)
            raise AssertionError("a busy connection was told to go")
        await peer.send(RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big"))
        started_s = trio.current_time()
        await peer.expect(GOAWAY)
        assert trio.current_time() - started_s == pytest.approx(100)


async def test_connection_at_its_maximum_age_finishes_its_calls(autojump_clock: object) -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep(60)
        await answer(stream)

    server = make_server({UNARY: slow}, limits=limits_with(max_age_s=100, max_age_grace_s=50))
    async with raw_peer(server) as peer:
        await peer.start()
        await trio.sleep(80)
        await peer.request(1)
        assert (await peer.expect(GOAWAY)).payload[:4] == MAX_STREAM_ID.to_bytes(4, "big")
        ping = await peer.expect(PING)
        await peer.send(PING, ACK, 0, ping.payload)
        assert (await peer.expect(GOAWAY)).payload[:4] == (1).to_bytes(4, "big")
        await peer.expect_headers(1)
        assert (await peer.expect_headers(1))["grpc-status"] == "0"
        await peer.expect_close()


# Too much


async def test_calls_beyond_the_limit_are_refused_and_others_go_on() -> None:
    limits = ServerLimits(http2=Http2Limits(max_concurrent_streams=3))
    async with raw_peer(make_server({UNARY: sleep_for_ever}, limits=limits)) as peer:
        await peer.start()
        for stream_id in (1, 3, 5, 7):
            await peer.request(stream_id)
        assert (await peer.expect(RST_STREAM)).stream_id == 7
        await peer.send(RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big"))
        await wait_all_tasks_blocked()
        await peer.request(9, {b":path": b"/nope"})
        assert (await peer.expect_headers(9))["grpc-status"] == "12"


async def test_reset_calls_count_until_their_handlers_have_ended(autojump_clock: object) -> None:
    started = []

    async def tidy(stream: Stream) -> None:
        started.append(1)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)

    limits = ServerLimits(http2=Http2Limits(max_concurrent_streams=5))
    async with raw_peer(make_server({UNARY: tidy}, limits=limits)) as peer:
        await peer.start()
        for n in range(100):
            await peer.request(2 * n + 1)
            await peer.send(RST_STREAM, 0, 2 * n + 1, CANCEL.to_bytes(4, "big"))
            await wait_all_tasks_blocked()
        assert len(started) == 5


async def test_calls_of_all_connections_are_limited_together() -> None:
    server = make_server({UNARY: sleep_for_ever}, limits=ServerLimits(max_calls=1))
    async with raw_peer(server) as one, raw_peer(server) as other:
        await one.start()
        await other.start()
        await one.request(1)
        await wait_all_tasks_blocked()
        await other.request(1)
        assert (await other.expect(RST_STREAM)).error_code == REFUSED_STREAM


async def test_connections_beyond_the_limit_are_closed_at_once() -> None:
    server = make_server({UNARY: answer}, limits=ServerLimits(max_connections=2))
    async with raw_peer(server) as first:
        async with raw_peer(server) as second, raw_peer(server) as third:
            await first.start()
            await second.start()
            assert await third.expect_close() == []
            assert server.open_connections == 2
        await wait_all_tasks_blocked()
        assert server.open_connections == 1
        assert await serves(server)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (frame_bytes(PING, 0, 0, bytes(8)) * 5000, "too many pings"),
        (frame_bytes(SETTINGS, 0, 0) * 5000, "too many frames that carry no call forward"),
        (frame_bytes(DATA, 0, 1) * 5000, "too many frames that carry no call forward"),
        (
            frame_bytes(HEADERS, 0, 3, bytes(16_000)) + frame_bytes(CONTINUATION, 0, 3, bytes(16_000)) * 4,
            "header block over 65536 bytes",
        ),
    ],
)
async def test_flood_is_answered_with_enhance_your_calm_and_others_are_served(
    frames: bytes, reason: str
) -> None:
    server = make_server({UNARY: answer})
    with capture_logs() as logs:
        async with raw_peer(server) as peer:
            await peer.start()
            await peer.request(1, end=False)
            await peer.stream.send_all(frames)
            received = await peer.expect_close()
        assert await serves(server)
    assert received[-1].kind == GOAWAY
    assert received[-1].error_code == ENHANCE_YOUR_CALM
    assert dropped(logs) == [f"ENHANCE_YOUR_CALM: {reason}"]


async def test_streams_opened_in_spite_of_refusals_end_the_connection() -> None:
    limits = ServerLimits(http2=Http2Limits(max_concurrent_streams=1, reset_burst=50))
    async with raw_peer(make_server({UNARY: sleep_for_ever}, limits=limits)) as peer:
        await peer.start()
        with suppress(trio.BrokenResourceError):
            for n in range(200):
                await peer.request(2 * n + 1)
                await wait_all_tasks_blocked()
        frames = await peer.expect_close()
        assert frames[-1].error_code == ENHANCE_YOUR_CALM


async def test_peer_that_does_not_read_is_dropped_with_bounded_output(autojump_clock: object) -> None:
    limits = replace(limits_with(send_s=20), http2=Http2Limits(junk_burst=100_000))
    server = make_server({UNARY: answer}, limits=limits)
    near, far = lockstep_stream_pair()
    read = 0

    async def count_reads(max_bytes: int | None = None) -> bytes:
        nonlocal read
        data = await receive_some(max_bytes)
        read += len(data)
        return bytes(data)

    receive_some, far.receive_some = far.receive_some, count_reads  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve_connection, far)
            started_s = trio.current_time()
            peer = RawPeer(near)
            with suppress(trio.BrokenResourceError):
                await peer.start()
                for n in range(10_000):  # each is answered with its id
                    await peer.request(2 * n + 1, {b":path": b"/", b"x-request-id": b"%0128d" % n}, None)
            assert trio.current_time() - started_s == pytest.approx(20, abs=0.1)
    assert dropped(logs) == ["the peer does not read"]
    assert 100_000 < read < 2 * MAX_OUTPUT_BYTES


async def test_slow_reader_of_a_stream_fills_no_memory(autojump_clock: object) -> None:
    async def gush(stream: Stream) -> None:
        while True:
            await stream.send_message(HeartbeatResponse(instructions={"k": "v" * 10_000}))

    server = make_server({SERVER_STREAM: gush})
    near, far = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, far)
        peer = RawPeer(near)
        await peer.start()
        # The widest windows there are: only the bound of the output itself holds the handler.
        await peer.send(SETTINGS, 0, 0, b"\0\4\x7f\xff\xff\xff")
        await peer.send(WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65_535).to_bytes(4, "big"))
        await peer.request(1, {b":path": SERVER_STREAM.encode()})
        await wait_all_tasks_blocked()
        (connection,) = server._connections
        assert connection._connection.output_bytes < HIGH_WATER_BYTES + 20_000
        nursery.cancel_scope.cancel()
