"""A channel connects in time, to the right address, after the right pauses, and its calls get the
right error."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from random import Random

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.http2.config import Http2Limits
from minicloud.http2.events import HeadersReceived
from minicloud.net.address import Address
from minicloud.net.backoff import Backoff
from minicloud.request_id import RequestScope, current_request_id
from minicloud.rpc.channel import Channel, open_channel
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.connecting import Connect, tcp_ways
from tests.networks import Names, needs_ipv6
from tests.unit.rpc.played_server import (
    STEADY,
    PlayedServer,
    PlayedServers,
    channel_to,
    failing,
    hang,
    refuse,
)
from tests.unit.rpc.support import UNARY, answer, call, make_server


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
    async def reset() -> trio.abc.Stream:
        raise ConnectionResetError("thrown out")

    async with channel_to(refuse, reset, refuse) as channel:
        started_s = trio.current_time()
        error = await failing(channel)
        assert (error.status, error.message) == (
            Status.UNAVAILABLE,
            "cannot connect: nobody there; thrown out",
        )
        assert trio.current_time() == started_s


class Away:
    """An `Away` is a server that refuses connections until it is back."""

    def __init__(self) -> None:
        self.attempts_s: list[float] = []
        self.servers = PlayedServers()
        self.back = False

    async def connect(self) -> trio.abc.Stream:
        self.attempts_s.append(trio.current_time())
        return await (self.servers.connect() if self.back else refuse())


async def test_calls_without_a_deadline_wait_for_the_end_of_the_backoff(autojump_clock: object) -> None:
    away = Away()
    config = ChannelConfig(backoff=Backoff(initial_s=1, max_s=4))
    async with channel_to(away.connect, config=config) as channel:
        for _ in range(7):
            assert (await failing(channel)).status is Status.UNAVAILABLE
    assert away.attempts_s == [0, 1, 3, 7, 11, 15, 19]


@pytest.mark.parametrize("timeout_s", [1.0, 5.0])
async def test_call_in_the_backoff_is_not_answered_from_it_but_finds_the_server_that_is_back(
    autojump_clock: object, timeout_s: float
) -> None:
    away = Away()
    async with channel_to(away.connect, config=ChannelConfig(backoff=STEADY)) as channel:
        await failing(channel)
        away.back = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(call, channel, timeout=timeout_s))
            server = await away.servers.next()
            await server.respond(await server.request())
    # Half of the call's time may be spent on the backoff, no more.
    assert away.attempts_s == [0, timeout_s / 2]


async def test_call_made_during_a_round_that_fails_is_answered_by_the_next(autojump_clock: object) -> None:
    attempts_s = []
    servers = PlayedServers()

    async def connect() -> trio.abc.Stream:
        attempts_s.append(trio.current_time())
        if len(attempts_s) > 1:
            return await servers.connect()
        await trio.sleep(3)
        return await refuse()

    config = ChannelConfig(backoff=STEADY)
    async with channel_to(connect, config=config) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(failing, channel)
        await trio.sleep(1)
        nursery.start_soon(partial(call, channel, timeout=8))
        server = await servers.next()
        await server.respond(await server.request())
    assert attempts_s == [0, 5]


async def test_connection_lost_after_an_outage_is_made_again_without_the_outages_delays(
    autojump_clock: object,
) -> None:
    away = Away()
    config = ChannelConfig(backoff=Backoff(initial_s=1, max_s=60))
    async with channel_to(away.connect, config=config) as channel:
        for _ in range(5):
            await failing(channel)
        away.back = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            server = await away.servers.next()
            await server.respond(await server.request())
        await server.stream.aclose()
        await wait_all_tasks_blocked()
        away.back = False
        started_s = trio.current_time()
        await failing(channel)
        await failing(channel)
    assert [at_s - started_s for at_s in away.attempts_s[-2:]] == [0, 1]


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


async def mute() -> trio.abc.Stream:
    """Accept the connection and send nothing."""
    near, _ = memory_stream_pair()
    return near


@pytest.mark.parametrize(("first", "delay_s"), [(mute, 0.5), (hang, 0.25), (refuse, 0.0)])
async def test_way_that_leads_nowhere_is_passed_over_for_the_next(
    autojump_clock: object, first: Connect, delay_s: float
) -> None:
    servers = PlayedServers()
    async with channel_to(first, servers.connect) as channel, trio.open_nursery() as nursery:
        started_s = trio.current_time()
        nursery.start_soon(call, channel)
        server = await servers.next()
        assert trio.current_time() - started_s == pytest.approx(delay_s)
        await server.respond(await server.request())


async def test_way_that_is_slow_is_not_given_up_for_those_tried_beside_it(autojump_clock: object) -> None:
    servers = PlayedServers()

    async def slow() -> trio.abc.Stream:
        await trio.sleep(3)
        return await servers.connect()

    closed = []

    async def watched_mute() -> trio.abc.Stream:
        near, far = memory_stream_pair()
        nursery.start_soon(watch, far)
        return near

    async def watch(far: trio.abc.Stream) -> None:
        async with far:
            while await far.receive_some():
                pass
        closed.append(trio.current_time())

    async with trio.open_nursery() as nursery, channel_to(slow, watched_mute) as channel:
        async with trio.open_nursery() as callers:
            callers.start_soon(call, channel)
            server = await servers.next()
            await server.respond(await server.request())
        await wait_all_tasks_blocked()
        assert closed == [3]  # the one that lost is not kept open
        assert channel.connected


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
        for _ in range(10):
            assert (await failing(channel)).status is Status.UNAVAILABLE
    assert min(later - earlier for earlier, later in pairwise(attempts)) >= 10


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


async def test_name_whose_first_address_accepts_and_never_answers_is_reached_by_its_second() -> None:
    trio.socket.set_custom_hostname_resolver(Names(cp=["127.0.0.2", "127.0.0.3"]))
    (mute_listener,) = await trio.open_tcp_listeners(0, host="127.0.0.2")
    port = mute_listener.socket.getsockname()[1]
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.3")
    server = make_server({UNARY: answer})
    async with trio.open_nursery() as nursery, mute_listener:
        await nursery.start(server.serve, [listener])
        async with open_channel([("cp", port)], random=Random(1)) as channel:
            with trio.fail_after(20):
                assert await call(channel, timeout=10) == 1
            assert await channel.local_address(1) is not None
        nursery.cancel_scope.cancel()


async def test_names_failures_are_all_told_with_their_addresses(autojump_clock: object) -> None:
    trio.socket.set_custom_hostname_resolver(Names(cp=["127.0.0.2", "127.0.0.3"]))
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.2")
    port = taken.socket.getsockname()[1]
    await taken.aclose()
    async with open_channel([("cp", port), ("gone", 1)], random=Random(1)) as channel:
        error = await failing(channel)
    assert error.message == (
        f"cannot connect: cp:{port} (127.0.0.2): Connection refused; "
        f"cp:{port} (127.0.0.3): Connection refused; gone:1: Name or service not known"
    )


async def test_addresses_of_both_families_are_tried_in_turn() -> None:
    trio.socket.set_custom_hostname_resolver(Names(cp=["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.1"]))
    ways = await tcp_ways([Address("cp", 1)], ChannelConfig(), None)()
    assert [way.key for way in ways] == [
        (Address("cp", 1), host) for host in ("fd00::1", "10.0.0.1", "fd00::2")
    ]


async def test_renewed_channel_uses_a_new_connection_and_finishes_what_runs_on_the_old() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        old = await servers.next()
        stream_id = await old.request()
        channel.renew()
        channel.renew()
        nursery.start_soon(call, channel)
        new = await servers.next()
        await new.respond(await new.request())
        await old.respond(stream_id)
        with pytest.raises(EOFError):
            await old.request()
    assert servers.connects == 2


async def test_local_address_is_that_of_the_connection_which_is_made_for_it(autojump_clock: object) -> None:
    server = make_server({UNARY: answer})
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        async with open_channel([("127.0.0.1", port)], random=Random(1)) as channel:
            address = await channel.local_address(5)
            assert address is not None
            assert address.host == "127.0.0.1"
            assert await channel.local_address(5) == address
            assert server.open_connections == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("connect", "told"),
    [(hang, "not connected within 3 s"), (refuse, "cannot connect: nobody there")],
)
async def test_local_address_without_a_connection_in_time_is_unavailable(
    autojump_clock: object, connect: Connect, told: str
) -> None:
    async with channel_to(connect) as channel:
        with pytest.raises(GRPCError) as caught:
            await channel.local_address(3)
    assert (caught.value.status, caught.value.message) == (Status.UNAVAILABLE, told)
    assert trio.current_time() <= 3


async def test_call_that_runs_out_of_time_in_the_backoff_names_the_last_failure(
    autojump_clock: object,
) -> None:
    async def refuse_late() -> trio.abc.Stream:
        await trio.sleep(6)
        return await refuse()

    async with channel_to(refuse_late, config=ChannelConfig(backoff=STEADY)) as channel:
        await failing(channel)
        error = await failing(channel, timeout=8)
    assert error.message == ("the call could not be sent within its deadline: cannot connect: nobody there")


async def test_connection_that_worked_makes_the_next_pause_the_first_again(autojump_clock: object) -> None:
    servers = PlayedServers()
    outcomes = iter("fffffcfc")  # five failures and a connection; then that is lost
    tried_s: list[float] = []

    async def connect() -> trio.abc.Stream:
        tried_s.append(trio.current_time())
        return await (refuse() if next(outcomes) == "f" else servers.connect())

    backoff = Backoff(initial_s=1, max_s=300)
    config = ChannelConfig(backoff=backoff, wait_for_ready=True)
    async with channel_to(connect, config=config) as channel, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(call, channel)
            server = await servers.next()
            await server.respond(await server.request())
            await server.stream.aclose()
            await wait_all_tasks_blocked()
    pauses_s = [late - early for early, late in pairwise(tried_s)]
    assert pauses_s[4] > 8  # they had grown
    assert pauses_s[-1] <= 1


async def test_call_whose_connection_ends_before_it_is_opened_goes_on_with_the_next(
    autojump_clock: object,
) -> None:
    servers = PlayedServers(Http2Limits(max_concurrent_streams=1))
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(failing, channel)
        server = await servers.next()
        await server.request()
        nursery.start_soon(call, channel)  # waits for its turn
        await wait_all_tasks_blocked()
        await server.stream.aclose()
        server = await servers.next()
        await server.respond(await server.request())
    assert servers.connects == 2


async def test_server_that_was_away_for_long_is_looked_for_every_ten_seconds_at_least(
    autojump_clock: object,
) -> None:
    away = Away()
    async with channel_to(away.connect) as channel:
        for _ in range(20):
            await failing(channel)
    delays_s = [later - earlier for earlier, later in pairwise(away.attempts_s)]
    assert delays_s[:3] == [0.25, 0.5, 1.0]
    assert max(delays_s) == 10.0


async def test_channel_closed_while_it_connects_ends_at_once(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        channel = Channel(nursery, [hang], random=Random(1))
        nursery.start_soon(failing, channel)
        await wait_all_tasks_blocked()
        channel.close()
    assert trio.current_time() == 0
