"""All calls together hold no more than their server's budget, and small messages pass whatever is held."""

from __future__ import annotations

import gzip

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from minicloud.rpc.budget import FREE_BYTES, ByteBudget, Share
from minicloud.rpc.config import ServerLimits
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.http2.raw_frames import DATA
from tests.unit.rpc.raw_peer import message_bytes, raw_peer
from tests.unit.rpc.support import (
    CLIENT_STREAM,
    UNARY,
    Stream,
    answer,
    call,
    joined,
    make_server,
    reply,
    request,
)

LARGE = 100_000
BUDGET = 150_000
LIMITS = ServerLimits(max_received_bytes=BUDGET)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3 * FREE_BYTES))))
@example([(0, 4 * FREE_BYTES)])  # to the last byte
def test_budget_left_is_what_shares_have_not_taken(steps: list[tuple[int, int]]) -> None:
    budget = ByteBudget(3 * FREE_BYTES)
    shares, held = [Share(budget) for _ in range(3)], [0, 0, 0]
    for number, held_bytes in steps:
        others = sum(each for other, each in enumerate(held) if other != number)
        counted = max(0, held_bytes - FREE_BYTES)
        fits = others + counted <= 3 * FREE_BYTES
        assert shares[number].hold(held_bytes) is fits
        if fits:
            held[number] = counted
        assert budget.left_bytes == 3 * FREE_BYTES - sum(held)


class Holding:
    """A `Holding` is a handler that holds its message until the test lets it answer."""

    def __init__(self) -> None:
        self.holding = 0
        self.done = trio.Event()

    async def __call__(self, stream: Stream) -> None:
        received = await stream.recv_message()
        assert received is not None
        if len(received.worker_id) == LARGE:
            self.holding += 1
            await self.done.wait()
        await stream.send_message(reply(1))


async def test_message_beyond_the_budget_fails_its_call_and_no_small_one() -> None:
    handler = Holding()
    async with joined({UNARY: handler}, limits=LIMITS) as (server, channel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel, request(LARGE))
            await wait_all_tasks_blocked()
            assert handler.holding == 1
            with pytest.raises(GRPCError, match=r"RESOURCE_EXHAUSTED.*too many large messages"):
                await call(channel, request(LARGE))
            for _ in range(20):
                await call(channel, request(FREE_BYTES // 2))
            handler.done.set()
        assert server.budget.left_bytes == BUDGET
        await call(channel, request(LARGE))
    assert handler.holding == 2


async def test_message_growing_beyond_the_budget_fails_before_it_is_whole() -> None:
    async with raw_peer(make_server({UNARY: answer}, limits=LIMITS)) as peer:
        await peer.start()
        await peer.request(1, body=message_bytes(b"", size=4 * LARGE), end=False)
        for _ in range((BUDGET + FREE_BYTES) // 10_000 + 1):
            await peer.send(DATA, 0, 1, bytes(10_000))
            await wait_all_tasks_blocked()
        assert (await peer.expect_headers(1))["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)


async def test_call_beyond_the_budget_that_does_not_end_holds_nothing_and_its_connection_goes_on() -> None:
    calls: list[Stream] = []

    async def persist(stream: Stream) -> None:
        calls.append(stream)
        try:
            await stream.recv_message()
        except GRPCError:
            await trio.sleep_forever()

    server = make_server({UNARY: persist, CLIENT_STREAM: answer}, limits=LIMITS)
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1, body=message_bytes(b"", size=4 * LARGE), end=False)
        for _ in range(200):  # twice the connection's window
            await peer.send(DATA, 0, 1, bytes(10_000))
            await wait_all_tasks_blocked()
        assert server.budget.left_bytes == BUDGET
        assert len(calls[0]._deframer) == 0
        await peer.request(3, {b":path": CLIENT_STREAM.encode()}, message_bytes(bytes(request())))
        assert (await peer.expect_headers(3))[":status"] == "200"


async def test_message_inflated_beyond_the_budget_fails() -> None:
    compressed = gzip.compress(bytes(request(2 * LARGE)), mtime=0)
    server = make_server({UNARY: answer}, limits=LIMITS)
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1, {b"grpc-encoding": b"gzip"}, message_bytes(compressed, compressed=True))
        assert (await peer.expect_headers(1))["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
        assert server.budget.left_bytes == BUDGET


async def test_messages_of_a_stream_count_only_while_they_are_held() -> None:
    async def count(stream: Stream) -> None:
        number = 0
        async for _ in stream:
            number += 1
        await stream.send_message(reply(number))

    async with (
        joined({CLIENT_STREAM: count}, limits=LIMITS) as (server, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        for _ in range(20):
            await stream.send_message(request(LARGE))
        await wait_all_tasks_blocked()
        assert server.budget.left_bytes == BUDGET  # the call goes on, and has none in hand
        await stream.end()
        answered = await stream.recv_message()
        assert answered is not None
        assert answered.next_heartbeat_ms == 20


async def test_call_cancelled_gives_back_what_it_held() -> None:
    handler = Holding()
    async with joined({UNARY: handler}, limits=LIMITS) as (server, channel):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, channel, request(LARGE))
                await wait_all_tasks_blocked()
                assert server.budget.left_bytes < BUDGET
                scope.cancel()
        await wait_all_tasks_blocked()
        assert server.budget.left_bytes == BUDGET
