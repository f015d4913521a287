"""A channel: connecting, failing, trying again, and generated code on top of it."""

from __future__ import annotations

import math
from random import Random

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from minicloud.request_id import RequestScope, current_request_id
from minicloud.rpc.backoff import Backoff
from minicloud.rpc.channel import Channel, open_channel
from minicloud.rpc.config import ChannelConfig, Timeouts
from minicloud.rpc.connection import Connection
from minicloud.rpc.events import GoAwayReceived
from minicloud.rpc.server import Server
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    WorkerManagementServiceBase,
    WorkerManagementServiceStub,
)
from tests.unit.rpc.played_server import STEADY, PlayedServers, channel_to, failing, hang, refuse
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


async def test_channel_connects_with_its_first_call_and_only_once() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        assert servers.connects == 0
        for _ in range(3):
            nursery.start_soon(call, channel)
        server = await servers.next()
        for _ in range(3):
            await server.respond(await server.request())
    assert servers.connects == 1


async def test_caller_that_gives_up_does_not_end_the_connecting_of_others() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as first:
                first.start_soon(call, channel)
                await wait_all_tasks_blocked()
                nursery.start_soon(call, channel)
                await wait_all_tasks_blocked()
                scope.cancel()
        server = await servers.next()
        await server.respond(await server.request())
    assert servers.connects == 1


async def test_connection_does_not_keep_the_context_of_the_call_that_made_it() -> None:
    bound: list[object] = []
    servers = PlayedServers()

    async def connect() -> trio.abc.Stream:
        bound.append(current_request_id())
        return await servers.connect()

    async with channel_to(connect) as channel, trio.open_nursery() as nursery:
        with RequestScope("mine"):
            nursery.start_soon(call, channel)
        server = await servers.next()
        await server.respond(await server.request())
    assert bound == [""]


async def test_addresses_are_tried_in_turn_beginning_with_the_last_that_worked(
    autojump_clock: object,
) -> None:
    tried = []

    async def first() -> trio.abc.Stream:
        tried.append(1)
        return await refuse()

    servers = PlayedServers()

    async def second() -> trio.abc.Stream:
        tried.append(2)
        return await servers.connect()

    async with channel_to(first, second) as channel:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, channel)
                server = await servers.next()
                await server.respond(await server.request())
            await server.stream.aclose()
            await wait_all_tasks_blocked()
    assert tried == [1, 2, 2]


async def test_call_fails_at_once_when_no_address_lets_us_in(autojump_clock: object) -> None:
    async with channel_to(refuse, refuse) as channel:
        started_s = trio.current_time()
        error = await failing(channel)
        assert (error.status, error.message) == (
            Status.UNAVAILABLE,
            "cannot connect: nobody there; nobody there",
        )
        assert trio.current_time() == started_s


async def test_calls_during_the_backoff_fail_at_once_and_after_it_connect_again(
    autojump_clock: object,
) -> None:
    attempts = []

    async def count() -> trio.abc.Stream:
        attempts.append(trio.current_time())
        return await refuse()

    async with channel_to(count, config=ChannelConfig(backoff=Backoff(initial_s=1, max_s=4))) as channel:
        started_s = trio.current_time()
        while trio.current_time() < started_s + 20:
            assert (await failing(channel)).status is Status.UNAVAILABLE
            await trio.sleep(0.25)
    assert [round(at_s - started_s) for at_s in attempts] == [0, 1, 3, 7, 11, 15, 19]


async def test_call_that_cannot_connect_within_its_deadline_is_unavailable(autojump_clock: object) -> None:
    async with channel_to(hang) as channel:
        started_s = trio.current_time()
        assert (await failing(channel, timeout=3)).status is Status.UNAVAILABLE
        assert trio.current_time() - started_s == pytest.approx(3)


async def test_connecting_is_given_up_after_its_timeout(autojump_clock: object) -> None:
    async with channel_to(hang, config=ChannelConfig(connect_timeout_s=4)) as channel:
        started_s = trio.current_time()
        error = await failing(channel)
        assert error.message == "cannot connect: timed out after 4 s"
        assert trio.current_time() - started_s == pytest.approx(4)


async def test_server_that_never_sends_settings_is_passed_over(autojump_clock: object) -> None:
    async def mute() -> trio.abc.Stream:
        near, _ = memory_stream_pair()
        return near

    servers = PlayedServers()
    config = ChannelConfig(connect_timeout_s=4)
    async with channel_to(mute, servers.connect, config=config) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        server = await servers.next()
        await server.respond(await server.request())


async def test_server_that_speaks_something_else_is_unavailable(autojump_clock: object) -> None:
    async def http1() -> trio.abc.Stream:
        near, far = memory_stream_pair()
        await far.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return near

    async with channel_to(http1) as channel:
        error = await failing(channel)
        assert error.status is Status.UNAVAILABLE
        assert (error.message or "").startswith("cannot connect: memory: no HTTP/2 there")


async def test_call_told_to_wait_waits_through_failures(autojump_clock: object) -> None:
    servers = PlayedServers()
    attempts = []

    async def late() -> trio.abc.Stream:
        attempts.append(1)
        if len(attempts) < 4:
            return await refuse()
        return await servers.connect()

    config = ChannelConfig(wait_for_ready=True, backoff=STEADY)
    async with channel_to(late, config=config) as channel, trio.open_nursery() as nursery:
        started_s = trio.current_time()
        nursery.start_soon(call, channel)
        server = await servers.next()
        assert trio.current_time() - started_s == pytest.approx(30)
        await server.respond(await server.request())


async def test_server_that_lets_in_and_throws_out_is_not_asked_again_and_again(
    autojump_clock: object,
) -> None:
    attempts = []

    async def thrown_out() -> trio.abc.Stream:
        attempts.append(trio.current_time())
        servers = PlayedServers()
        near = await servers.connect()
        server = await servers.next()
        server.connection.go_away(0)
        await server.flush()
        await server.stream.aclose()
        return near

    async with channel_to(thrown_out, config=ChannelConfig(backoff=STEADY)) as channel:
        for _ in range(30):
            assert (await failing(channel)).status is Status.UNAVAILABLE
            await trio.sleep(1)
    assert len(attempts) <= 4


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


OWED = ChannelConfig(
    timeouts=Timeouts(
        keepalive_s=10, keepalive_timeout_s=10, keepalive_without_calls=False, max_idle_s=math.inf
    )
)


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

    async with channel_to(servers.connect, config=OWED) as channel, trio.open_nursery() as nursery:
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
    async with channel_to(servers.connect, config=OWED) as channel, trio.open_nursery() as nursery:
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
