"""A channel loses its connection, closes, finds dead peers, and carries generated code."""

from __future__ import annotations

from random import Random

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from minicloud.http2.config import Timeouts
from minicloud.http2.connection import Connection
from minicloud.http2.events import GoAwayReceived
from minicloud.rpc.channel import Channel, open_channel
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.server import Server
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    WorkerManagementServiceBase,
    WorkerManagementServiceStub,
)
from minicloud.worker.control_plane_client import TO_CONTROL_PLANE
from tests.unit.rpc.played_server import PlayedServers, channel_to, failing
from tests.unit.rpc.support import (
    UNARY,
    Stream,
    answer,
    call,
    connect_to,
    joined,
    make_server,
    request,
    sleep_for_ever,
)


async def test_lost_connection_fails_its_calls_and_the_next_call_connects_again() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, channel)
            server = await servers.next()
            await server.request()
            await server.stream.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            server = await servers.next()
            await server.respond(await server.request())
    assert servers.connects == 2


async def test_sender_held_at_the_window_is_told_when_its_connection_is_lost(autojump_clock: object) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(GRPCError) as caught, trio.fail_after(60):
                await call(channel, request(200_000))
            assert caught.value.status is Status.UNAVAILABLE

        nursery.start_soon(caller)
        server = await servers.next()
        await server.request()
        await wait_all_tasks_blocked()
        await server.stream.aclose()


async def test_closed_channel_makes_no_calls() -> None:
    async with joined({UNARY: answer}) as (_, channel):
        await call(channel)
        assert channel.connected
        channel.close()
        assert (await failing(channel)).message == "the channel is closed"


async def test_channel_says_goodbye_when_its_block_ends() -> None:
    server = make_server({UNARY: answer})
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, await trio.open_tcp_listeners(0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with open_channel([("127.0.0.1", port)], random=Random(1)) as channel:
            assert await call(channel, request(5)) == 5
        await wait_all_tasks_blocked()
        assert server.open_connections == 0
        nursery.cancel_scope.cancel()


async def test_address_where_nobody_listens_is_named_with_the_reason() -> None:
    async with open_channel([("127.0.0.1", 1)], random=Random(1)) as channel:
        assert (await failing(channel)).message == "cannot connect: 127.0.0.1:1: Connection refused"


async def test_error_in_the_channels_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_channel([("127.0.0.1", 1)], random=Random(1)):
            raise KeyError("mine")


async def test_keepalive_that_is_not_answered_fails_the_calls(autojump_clock: object) -> None:
    servers = PlayedServers()
    config = ChannelConfig(timeouts=Timeouts(keepalive_s=30, keepalive_timeout_s=10))
    async with channel_to(servers.connect, config=config) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            started_s = trio.current_time()
            error = await failing(channel)
            assert error.status is Status.UNAVAILABLE
            assert "keepalive" in (error.message or "")
            assert trio.current_time() - started_s == pytest.approx(40)

        nursery.start_soon(caller)
        server = await servers.next()
        await server.request()


async def test_connection_without_calls_is_closed_when_the_server_goes_away() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        server = await servers.next()
        await server.respond(await server.request())
        await wait_all_tasks_blocked()
        server.connection.go_away(1)
        with pytest.raises(EOFError):
            await server.expect(GoAwayReceived)
        assert not channel.connected


async def test_goaway_with_an_error_is_logged() -> None:
    servers = PlayedServers()
    with capture_logs() as logs:
        async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            server = await servers.next()
            stream_id = await server.request()
            server.connection.go_away(stream_id, ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")
            await server.respond(stream_id)
    (line,) = [line for line in logs if line["event"] == "rpc_server_sent_goaway"]
    assert line["debug"] == "too_many_pings"


async def test_server_that_stops_loses_no_call_of_a_channel(autojump_clock: object) -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep(1)
        await answer(stream)

    old, new = make_server({UNARY: slow}), make_server({UNARY: slow})
    async with trio.open_nursery() as nursery:
        current = [old]

        async def connect() -> trio.abc.Stream:
            return await connect_to(current[0], nursery)()

        channel = Channel(nursery, [connect], random=Random(1))
        answers: list[int] = []

        async def caller() -> None:
            answers.extend([await call(channel, request(7)) for _ in range(10)])

        async with trio.open_nursery() as callers:
            for _ in range(20):
                callers.start_soon(caller)
            await trio.sleep(4.5)
            current[0] = new
            await old.stop(grace_s=30)
            assert old.active_calls == 0
        assert answers == [7] * 200
        nursery.cancel_scope.cancel()


async def test_generated_stub_and_service_base_are_carried_unchanged() -> None:
    class Service(WorkerManagementServiceBase):
        async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
            return HeartbeatResponse(acknowledged=True, next_heartbeat_ms=len(message.worker_id))

    server = Server([Service()], random=Random(1))
    async with trio.open_nursery() as nursery:
        channel = Channel(nursery, [connect_to(server, nursery)], random=Random(1))
        stub = channel.stub(WorkerManagementServiceStub)
        assert await stub.heartbeat(request(6), timeout=5) == HeartbeatResponse(
            acknowledged=True, next_heartbeat_ms=6
        )
        with pytest.raises(GRPCError) as caught:
            await stub.list_workers(ListWorkersRequest())
        assert caught.value.status is Status.UNIMPLEMENTED
        nursery.cancel_scope.cancel()


async def test_handler_asleep_is_cancelled_when_the_channel_closes() -> None:
    async with joined({UNARY: sleep_for_ever}) as (server, channel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, channel)
            await wait_all_tasks_blocked()
            channel.close()
        await wait_all_tasks_blocked()
        assert (server.active_calls, server.open_connections) == (0, 0)


# What workers use: pings only where an answer is owed.


async def test_connection_that_died_in_silence_costs_two_calls_their_deadline_and_no_more(
    autojump_clock: MockClock,
) -> None:
    servers = PlayedServers()
    ends = []

    async def attempt(channel: Channel) -> None:
        try:
            await call(channel, timeout=10)
        except GRPCError as error:
            ends.append(error.status)
        else:
            ends.append(Status.OK)

    async with (
        channel_to(servers.connect, config=TO_CONTROL_PLANE) as channel,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(attempt, channel)
        server = await servers.next()
        await server.respond(await server.request())
        await trio.sleep(3600)
        await attempt(channel)  # nobody reads at the other end any more
        await trio.sleep(5)
        await attempt(channel)
        assert servers.connects == 1
        nursery.start_soon(attempt, channel)
        server = await servers.next()
        await server.respond(await server.request())
    assert servers.connects == 2
    assert ends == [Status.OK, Status.DEADLINE_EXCEEDED, Status.UNAVAILABLE, Status.OK]


async def test_connection_that_answers_is_never_pinged(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings: list[float] = []
    monkeypatch.setattr(Connection, "ping", lambda self, payload: pings.append(trio.current_time()))
    servers = PlayedServers()
    async with (
        channel_to(servers.connect, config=TO_CONTROL_PLANE) as channel,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call, channel)
        server = await servers.next()
        await server.respond(await server.request())
        for _ in range(10):
            await trio.sleep(30)
            nursery.start_soon(call, channel)
            stream_id = await server.request()
            await trio.sleep(9)  # as slow as it may be
            await server.respond(stream_id)
    assert servers.connects == 1
    assert pings == []
