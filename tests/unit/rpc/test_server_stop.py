"""A server's connections end, by the server's decision and otherwise."""

from __future__ import annotations

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.http2.frames import MAX_STREAM_ID
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.http2.raw_frames import ACK, GOAWAY, HEADERS, PING, REFUSED_STREAM, RST_STREAM
from tests.unit.rpc.raw_peer import RawPeer, raw_peer, serves
from tests.unit.rpc.support import (
    SERVER_STREAM,
    UNARY,
    Recorder,
    Stream,
    answer,
    call,
    joined,
    make_server,
    reply,
    request,
    sleep_for_ever,
)


async def test_stop_lets_calls_finish_and_loses_none_that_was_on_its_way(autojump_clock: object) -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep(5)
        await answer(stream)

    server = make_server({UNARY: slow})
    async with raw_peer(server) as peer, trio.open_nursery() as nursery:
        await peer.start()
        await peer.request(1)
        await wait_all_tasks_blocked()
        stopped_s = trio.current_time()
        nursery.start_soon(server.stop, 60)
        assert (await peer.expect(GOAWAY)).payload == MAX_STREAM_ID.to_bytes(4, "big") + bytes(4)
        ping = await peer.expect(PING)
        await peer.request(3)  # sent before the client had read the GOAWAY
        await peer.send(PING, ACK, 0, ping.payload)
        assert (await peer.expect(GOAWAY)).payload == (3).to_bytes(4, "big") + bytes(4)
        await peer.request(5)  # after: not a client to be pitied
        assert (await peer.expect(RST_STREAM, 5)).error_code == REFUSED_STREAM
        statuses = [
            headers["grpc-status"]
            for frame in await peer.expect_close()
            if frame.kind == HEADERS and "grpc-status" in (headers := dict(frame.headers))
        ]
        assert statuses == ["0", "0"]
        assert trio.current_time() - stopped_s == pytest.approx(5)


async def test_stop_cancels_what_has_not_finished_within_the_grace(autojump_clock: object) -> None:
    recorder = Recorder([])
    server = make_server({UNARY: sleep_for_ever}, observer=recorder)
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1)
        await wait_all_tasks_blocked()
        stopped_s = trio.current_time()
        await server.stop(grace_s=8)
        assert trio.current_time() - stopped_s == pytest.approx(8)
        assert [status for _, status, _ in recorder.finished] == [Status.CANCELLED]
        assert (server.open_connections, server.active_calls) == (0, 0)


async def test_stop_with_no_connections_returns_at_once(autojump_clock: object) -> None:
    await make_server({UNARY: answer}).stop(grace_s=10)
    assert trio.current_time() == 0


async def test_stop_with_idle_connections_lasts_no_longer_than_their_goodbye(autojump_clock: object) -> None:
    server = make_server({UNARY: answer})
    async with raw_peer(server) as peer, trio.open_nursery() as nursery:
        await peer.start()
        await wait_all_tasks_blocked()
        started_s = trio.current_time()
        nursery.start_soon(server.stop, 60)
        ping = await peer.expect(PING)
        await peer.send(PING, ACK, 0, ping.payload)
        await peer.expect_close()
        await wait_all_tasks_blocked()
        assert (server.open_connections, trio.current_time()) == (0, started_s)


async def test_serve_returns_once_stopped_and_its_listeners_are_closed() -> None:
    server = make_server({UNARY: answer})
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        address = listeners[0].socket.getsockname()
        peer = RawPeer(await trio.open_tcp_stream(*address))
        await peer.start()
        await peer.request(1)
        await peer.expect_headers(1)
        assert server.open_connections == 1
        await peer.stream.aclose()
        await server.stop(grace_s=5)
    with pytest.raises(OSError, match=r"."):
        await trio.open_tcp_stream(*address)


async def test_fault_of_ours_costs_its_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server({UNARY: answer})
    with capture_logs() as logs:
        async with raw_peer(server) as peer:
            await peer.start()
            await wait_all_tasks_blocked()
            (connection,) = server._connections
            monkeypatch.setattr(connection._connection, "receive", lambda data, now_s: 1 // 0)
            await peer.request(1)
            await peer.expect_close()
            await wait_all_tasks_blocked()
        assert await serves(server)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["rpc_connection_crashed"]


async def test_calls_one_after_another_leave_nothing_behind() -> None:
    async with joined({UNARY: answer}) as (server, channel):
        for _ in range(400):
            await call(channel)
        (connection,) = server._connections
        engine = connection._connection._engine._h2
        assert connection._calls == {}
        assert len(engine.streams) <= 2
        assert len(engine._closed_streams) <= 256


async def test_many_calls_at_once_all_get_their_own_answers() -> None:
    async with joined({UNARY: answer}) as (_, channel), trio.open_nursery() as nursery:
        answers: dict[int, int] = {}

        async def one(size: int) -> None:
            answers[size] = await call(channel, request(size))

        for size in range(300):  # three times the streams that are granted
            nursery.start_soon(one, size)
    assert answers == {size: size for size in range(300)}


async def test_streaming_call_ends_with_its_connection() -> None:
    async def gush(stream: Stream) -> None:
        while True:
            await stream.send_message(reply(1))

    async with joined({SERVER_STREAM: gush}) as (server, channel):
        async with channel.request(
            SERVER_STREAM, Cardinality.UNARY_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream:
            await stream.send_message(request(), end=True)
            await stream.recv_message()
            for connection in server._connections:
                connection._transport.close("test")
            with pytest.raises(GRPCError) as caught:
                await stream.recv_trailing_metadata()
        assert caught.value.status is Status.UNAVAILABLE
        await wait_all_tasks_blocked()
        assert server.active_calls == 0


async def test_memory_stream_closed_from_afar_is_no_error() -> None:
    server = make_server({UNARY: answer})
    near, far = memory_stream_pair()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve_connection, far)
            await near.aclose()
    assert not [line for line in logs if line["log_level"] in ("warning", "error")]
