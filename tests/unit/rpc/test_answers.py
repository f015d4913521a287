"""Clients that do not take their answers hold a bounded part of the server's memory, and starve nobody."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from minicloud.http2.transport import HIGH_WATER_BYTES
from minicloud.rpc.answers import AnswerBudget
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.refusals import Cause
from minicloud.wire.gen.minicloud.execution import HeartbeatResponse
from tests.unit.http2.raw_frames import ENHANCE_YOUR_CALM, RST_STREAM, SETTINGS, WINDOW_UPDATE
from tests.unit.rpc.raw_peer import RawPeer, raw_peer
from tests.unit.rpc.support import CLIENT_STREAM, UNARY, Recorder, Stream, answer, make_server

LARGE = 300_000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 120)), max_size=40))
def test_budget_holds_no_more_than_it_has_and_lets_the_oldest_go(steps: list[tuple[int, int]]) -> None:
    budget: AnswerBudget[int] = AnswerBudget(100)
    held: dict[int, int] = {}
    for call, left in steps:
        held.pop(call, None)
        gone = []
        for other in [*held]:
            if sum(held.values()) + left <= 100:
                break
            gone.append(other)
            del held[other]
        held[call] = left
        if left > 100:
            gone.append(call)
            del held[call]
        assert budget.hold(call, left) == gone
        assert budget.held_bytes == sum(held.values()) <= 100
    for call in [*held]:
        budget.release(call)
    assert (budget.held_bytes, budget.crowded) == (0, False)


def test_output_of_connections_counts_and_is_not_taken_from_the_call_that_moves() -> None:
    budget: AnswerBudget[str] = AnswerBudget(100)
    assert budget.hold("a", 40) == []
    budget.output_bytes = 70
    assert budget.crowded
    assert budget.hold("b", 20) == ["a"]
    assert budget.hold("b", 90) == []
    budget.output_bytes = 0
    assert not budget.crowded


def test_call_that_makes_progress_is_not_the_oldest() -> None:
    budget: AnswerBudget[str] = AnswerBudget(100)
    budget.hold("a", 50)
    budget.hold("b", 40)
    budget.hold("a", 45)
    assert budget.hold("c", 30) == ["b"]


async def large(stream: Stream) -> None:
    await stream.recv_message()
    await stream.send_message(HeartbeatResponse(instructions={"k": "v" * LARGE}))


async def test_answers_that_are_not_taken_make_room_for_those_that_are() -> None:
    recorder = Recorder([])
    limits = ServerLimits(max_answer_bytes=4 * LARGE)
    server = make_server({UNARY: large, CLIENT_STREAM: answer}, limits=limits, observer=recorder)
    async with raw_peer(server) as hostile, raw_peer(server) as friend:
        await hostile.start()
        await friend.start()
        for n in range(20):  # no window for any of them
            await hostile.request(2 * n + 1)
            await wait_all_tasks_blocked()
        held = server.answers.held_bytes
        assert 2 * LARGE < held <= 4 * LARGE
        assert server.active_calls <= 4
        assert (await hostile.expect(RST_STREAM)).error_code == ENHANCE_YOUR_CALM
        await friend.send(WINDOW_UPDATE, 0, 0, (10 * LARGE).to_bytes(4, "big"))
        await friend.send(SETTINGS, 0, 0, b"\0\4" + (2 * LARGE).to_bytes(4, "big"))
        await friend.request(1)
        await friend.expect_headers(1)
        assert (await friend.expect_headers(1))["grpc-status"] == "0"
    assert set(recorder.refused) == {Cause.ANSWER_BUDGET}
    await wait_all_tasks_blocked()
    assert (server.answers.held_bytes, server.answers.output_bytes) == (0, 0)


async def test_answer_over_the_whole_budget_fails_its_own_call() -> None:
    recorder = Recorder([])
    server = make_server({UNARY: large}, limits=ServerLimits(max_answer_bytes=LARGE // 2), observer=recorder)
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1)
        assert (await peer.expect(RST_STREAM, 1)).error_code == ENHANCE_YOUR_CALM
    assert recorder.refused == [Cause.ANSWER_BUDGET]


async def test_output_of_many_connections_that_do_not_read_is_bounded() -> None:
    """Each client has the widest windows there are, so only the bound of the connections' queues
    holds the handlers."""
    budget = 8 * HIGH_WATER_BYTES
    server = make_server({UNARY: large}, limits=ServerLimits(max_answer_bytes=budget))
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            near, far = lockstep_stream_pair()
            nursery.start_soon(server.serve_connection, far)
            peer = RawPeer(near)
            await peer.start()
            await peer.send(SETTINGS, 0, 0, b"\0\4\x7f\xff\xff\xff")
            await peer.send(WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65_535).to_bytes(4, "big"))
            await peer.request(1)
            await wait_all_tasks_blocked()
        held = server.answers.held_bytes + server.answers.output_bytes
        assert held < budget + 30 * 2 * 17_000
        nursery.cancel_scope.cancel()
    assert (server.answers.held_bytes, server.answers.output_bytes) == (0, 0)


async def test_output_that_has_been_taken_counts_no_more_while_its_connection_is_open() -> None:
    server = make_server({UNARY: answer})
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1)
        await peer.expect_headers(1)
        assert (await peer.expect_headers(1))["grpc-status"] == "0"
        await wait_all_tasks_blocked()
        assert server.open_connections == 1
        assert server.answers.output_bytes == 0
