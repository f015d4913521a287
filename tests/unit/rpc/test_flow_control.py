"""No end holds more than a window, and every byte read is credited again."""

from __future__ import annotations

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from trio.testing import wait_all_tasks_blocked

from minicloud.http2.config import Http2Limits
from minicloud.http2.events import PingAcked
from minicloud.rpc.config import ChannelConfig, ServerLimits
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.http2.raw_frames import DATA
from tests.unit.rpc.played_server import OK_HEADERS, PlayedServer, PlayedServers, channel_to
from tests.unit.rpc.raw_peer import message_bytes, raw_peer
from tests.unit.rpc.support import (
    CLIENT_STREAM,
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
)


async def test_message_of_50_mb_passes_when_the_limits_permit() -> None:
    async def echo(stream: Stream) -> None:
        asked = await stream.recv_message()
        assert asked is not None
        await stream.send_message(HeartbeatResponse(instructions={"echo": asked.worker_id}))

    limits, config = ServerLimits(max_message_bytes=60 << 20), ChannelConfig(max_message_bytes=60 << 20)
    async with (
        joined({UNARY: echo}, limits=limits, config=config) as (_, channel),
        channel.request(UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse) as stream,
    ):
        await stream.send_message(request(50 << 20), end=True)
        answered = await stream.recv_message()
        assert answered is not None
        assert len(answered.instructions["echo"]) == 50 << 20


async def test_sender_to_a_handler_that_does_not_read_is_held_at_the_window() -> None:
    read = trio.Event()
    sent = []

    async def slow(stream: Stream) -> None:
        await read.wait()
        await stream.send_message(reply(len([message async for message in stream])))

    async with (
        joined({CLIENT_STREAM: slow}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
        trio.open_nursery() as nursery,
    ):

        async def send_all() -> None:
            for _ in range(200):
                await stream.send_message(request(10_000))
                sent.append(1)
            await stream.end()

        nursery.start_soon(send_all)
        await wait_all_tasks_blocked()
        # One window, however long it takes.
        assert len(sent) == 65_535 // 10_000
        read.set()
        assert await stream.recv_message() == reply(200)


async def test_window_is_given_back_as_messages_are_taken() -> None:
    arrived, taken, go_on = trio.Event(), trio.Event(), trio.Event()
    sent = []

    async def picky(stream: Stream) -> None:
        await arrived.wait()  # so that it never has to wait for a message, which gives back, too
        for _ in range(5):
            await stream.recv_message()
        taken.set()
        await go_on.wait()
        await stream.send_message(reply(1))

    async with (
        joined({CLIENT_STREAM: picky}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
        trio.open_nursery() as nursery,
    ):

        async def send_all() -> None:
            for _ in range(200):
                await stream.send_message(request(10_000))
                sent.append(1)

        nursery.start_soon(send_all)
        await wait_all_tasks_blocked()
        assert len(sent) == 6  # a window
        arrived.set()
        await taken.wait()
        await wait_all_tasks_blocked()
        assert 9 <= len(sent) <= 11  # and what has been taken, but for the half of a window it is told in
        go_on.set()
        assert await stream.recv_message() == reply(1)
        nursery.cancel_scope.cancel()


async def test_handler_that_sends_to_a_client_that_does_not_read_is_held_at_the_window() -> None:
    sent = []

    async def gush(stream: Stream) -> None:
        for n in range(1000):
            await stream.send_message(HeartbeatResponse(instructions={"k": "v" * 1000}))
            sent.append(n)

    async with (
        joined({SERVER_STREAM: gush, UNARY: answer}) as (_, channel),
        channel.request(
            SERVER_STREAM, Cardinality.UNARY_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        await stream.send_message(request(), end=True)
        await stream.recv_message()
        await wait_all_tasks_blocked()
        assert len(sent) < 70
        assert await call(channel) == 1  # others on the same connection go on
        assert len([message async for message in stream]) == 999


@pytest.mark.parametrize(
    ("path", "status"), [(UNARY.encode(), Status.ABORTED), (b"/unknown", Status.UNIMPLEMENTED)]
)
async def test_unread_bytes_of_calls_that_ended_are_given_back(path: bytes, status: Status) -> None:
    async def ignore(stream: Stream) -> None:
        raise GRPCError(Status.ABORTED, "not interested")

    limits = ServerLimits(http2=Http2Limits(junk_burst=1000))
    async with raw_peer(make_server({UNARY: ignore}, limits=limits)) as peer:
        await peer.start()
        # 4 MB of calls that are never read, over a connection window of 1 MB.
        for n in range(128):
            await peer.request(2 * n + 1, {b":path": path}, body=bytes(16_000), end=False)
            await peer.send(DATA, 1, 2 * n + 1, bytes(16_000))
            assert (await peer.expect_headers(2 * n + 1))["grpc-status"] == str(status.value)
        assert not peer.closed


async def test_peer_is_known_to_handlers() -> None:
    async def handler(stream: Stream) -> None:
        assert stream.peer.addr() is None
        assert stream.peer.cert() is None
        assert str(stream.peer) == "memory"
        assert (stream.user_agent or "").startswith("grpc-python-minicloud/")
        await answer(stream)

    async with joined({UNARY: handler}) as (_, channel):
        await call(channel)


async def test_observer_is_told_method_status_and_duration(autojump_clock: object) -> None:
    async def handler(stream: Stream) -> None:
        await trio.sleep(2)
        await answer(stream)

    recorder = Recorder([])
    async with joined({UNARY: handler}, observer=recorder) as (_, channel):
        await call(channel)
    ((method, status, duration_s),) = recorder.finished
    assert (method, status, round(duration_s, 6)) == (UNARY, Status.OK, 2)


@pytest.mark.parametrize("ending", ["reset", "http", "too large", "abandoned"])
async def test_data_of_calls_that_failed_is_given_back_to_the_server(ending: str) -> None:
    """The calls carry 2 MB over a window of 1 MB."""
    servers = PlayedServers()
    chunk = message_bytes(b"", size=1 << 20)[:5] + bytes(16_000)
    headers = {b":status": b"502"} if ending == "http" else OK_HEADERS
    server: PlayedServer | None = None
    async with channel_to(servers.connect) as channel:
        for _ in range(40):
            async with trio.open_nursery() as nursery:
                go_on = trio.Event()

                async def caller(go_on: trio.Event) -> None:
                    with pytest.raises(GRPCError):  # noqa: PT012
                        async with channel.request(
                            SERVER_STREAM, Cardinality.UNARY_STREAM, HeartbeatRequest, HeartbeatResponse
                        ) as stream:
                            await stream.send_message(request(), end=True)
                            await stream.recv_initial_metadata()
                            await go_on.wait()  # and reads nothing meanwhile
                            if ending == "abandoned":
                                raise GRPCError(Status.CANCELLED, None)
                            await stream.recv_message()

                nursery.start_soon(caller, go_on)
                if server is None:
                    server = await servers.next()
                stream_id = await server.request()
                connection = server.connection
                connection.send_headers(stream_id, list(headers.items()))
                for _ in range(3):
                    assert connection.send_data(stream_id, chunk) == len(chunk)
                if ending == "reset":
                    connection.reset(stream_id, 0x2)
                if ending == "too large":
                    trailers = [(b"grpc-status", b"0"), (b"k", b"v" * 17_000)]
                    connection.send_headers(stream_id, trailers, end_stream=True)
                await server.flush()
                await wait_all_tasks_blocked()
                go_on.set()
            await _take_all(server)
    assert servers.connects == 1


async def _take_all(server: PlayedServer) -> None:
    """Read what the client has sent by now."""
    await server.flush()
    await wait_all_tasks_blocked()
    with trio.move_on_after(0):
        await server.expect(PingAcked)
