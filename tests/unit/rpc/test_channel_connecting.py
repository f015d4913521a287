"""How a channel comes by its connection: when, to which address, after which pauses, and what calls hear."""

from __future__ import annotations

from random import Random

import pytest
import trio
from grpclib.const import Status
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.net.backoff import Backoff
from minicloud.request_id import RequestScope, current_request_id
from minicloud.rpc.channel import open_channel
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.events import HeadersReceived
from tests.networks import needs_ipv6
from tests.unit.rpc.played_server import (
    STEADY,
    PlayedServer,
    PlayedServers,
    channel_to,
    failing,
    hang,
    refuse,
)
from tests.unit.rpc.support import (
    call,
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


@needs_ipv6
async def test_authority_of_an_ipv6_server_has_brackets() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="::1")
    port = listener.socket.getsockname()[1]

    async def play(stream: trio.abc.Stream) -> None:
        server = PlayedServer(stream)
        await server.flush()
        headers = await server.expect(HeadersReceived)
        authorities.append(dict(headers.headers)[b":authority"])
        await server.respond(headers.stream_id)

    authorities: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, play, [listener])
        async with open_channel([("::1", port)], random=Random(1)) as channel:
            await call(channel)
        nursery.cancel_scope.cancel()
    assert authorities == [b"[::1]:%d" % port]
