"""The seats for connections are tested without connections: which gets one, which gives way, and that all are
given back (DESIGN 49)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from minicloud.control.rest.seats import (
    FAIR_ANSWER_S,
    FAIR_IDLE_S,
    MAX_ANSWER_BYTES,
    HalfClose,
    Lane,
    Seat,
    SeatLimits,
    Seats,
    peer_key,
)

LIMITS = SeatLimits(ordinary=8, reserve=4)


class House:
    """A `House` has seats, and the numbers of the connections that were closed in favour of others."""

    def __init__(self, limits: SeatLimits = LIMITS) -> None:
        self.crowded_out: list[str] = []
        self.seats = Seats(limits, self.crowded_out.append)
        self.closed: list[int] = []
        self._number = 0

    def take(self, peer: str = "a") -> Seat | None:
        number = self._number
        self._number += 1
        return self.seats.take(peer, lambda: self.closed.append(number))

    def taken(self, peer: str = "a", *, busy: bool = True) -> Seat:
        seat = self.take(peer)
        assert seat is not None
        if busy:
            seat.busy()
        return seat

    def fill(self, *peers: str) -> list[Seat]:
        """Take every ordinary seat for busy connections, as far as the shares of `peers` go."""
        return [self.taken(peer) for peer in peers for _ in range(self.seats.limits.per_peer)]


async def test_one_peer_has_half_of_the_ordinary_seats_then_the_reserve_then_none() -> None:
    house = House()
    lanes = [house.taken("a").lane for _ in range(8)]
    assert lanes == [Lane.ORDINARY] * 4 + [Lane.RESERVE] * 4
    assert house.take("a") is None
    assert house.crowded_out == ["refused"]
    assert house.taken("b").lane is Lane.ORDINARY


async def test_peers_share_the_ordinary_seats_and_the_next_one_gets_the_reserve() -> None:
    house = House()
    house.fill("a", "b")
    assert house.taken("c").lane is Lane.RESERVE


async def test_seat_that_is_left_is_there_for_the_next() -> None:
    house = House()
    first, *_ = house.fill("a", "b")
    first.leave()
    first.leave()
    assert house.taken("c").lane is Lane.ORDINARY
    assert house.taken("d").lane is Lane.RESERVE


async def test_longest_idle_connection_gives_way_to_a_new_one(mock_clock: MockClock) -> None:
    house = House()
    seats = house.fill("a", "b")
    for number in (5, 2):
        seats[number].idle()
        mock_clock.jump(FAIR_IDLE_S)
    assert house.taken("c").lane is Lane.ORDINARY
    assert house.closed == [5]
    assert house.crowded_out == ["displaced"]
    assert house.taken("d").lane is Lane.ORDINARY
    assert house.closed == [5, 2]


async def test_peer_over_its_share_displaces_its_own_idle_connection_alone(mock_clock: MockClock) -> None:
    house = House()
    house.fill("a")
    house.taken("b", busy=False)
    mock_clock.jump(60)
    assert house.taken("a").lane is Lane.RESERVE
    own = house.taken("a")
    assert own.lane is Lane.RESERVE
    assert house.closed == []


async def test_connection_that_came_just_now_does_not_give_way(mock_clock: MockClock) -> None:
    house = House()
    for _ in range(8):
        house.taken("a", busy=False)
    mock_clock.jump(FAIR_IDLE_S / 2)
    assert house.take("a") is None
    mock_clock.jump(FAIR_IDLE_S / 2)
    assert house.taken("a").lane is Lane.ORDINARY
    assert house.closed == [0]


async def test_reserve_takes_back_seats_from_the_idle_and_from_those_that_do_not_read(
    mock_clock: MockClock,
) -> None:
    house = House()
    house.fill("a", "b")
    reserve = [house.taken("c") for _ in range(4)]
    assert house.take("d") is None
    assert reserve[2].take_answer_bytes(1)
    reserve[3].idle()
    mock_clock.jump(FAIR_IDLE_S)
    assert house.taken("d").lane is Lane.RESERVE
    assert house.closed == [11]
    assert house.taken("d").lane is Lane.RESERVE
    assert house.closed == [11, 10]
    assert house.take("d") is None


async def test_connection_that_lingers_after_its_last_answer_gives_way_at_once() -> None:
    house = House()
    house.fill("a")[1].linger()
    assert house.taken("a").lane is Lane.ORDINARY
    assert house.closed == [1]


async def test_streams_have_a_share_for_all_and_for_each_peer_and_none_of_the_reserve() -> None:
    house = House()
    assert [house.taken("a").take_stream() for _ in range(5)] == [True, True, False, False, False]
    assert [house.taken("b").take_stream() for _ in range(2)] == [True, True]
    assert house.seats.streams == 4
    assert not house.taken("c").take_stream()


async def test_stream_that_is_over_makes_room_for_another() -> None:
    house = House()
    first, second, third = (house.taken() for _ in range(3))
    assert first.take_stream()
    assert second.take_stream()
    assert not third.take_stream()
    first.idle()
    assert third.take_stream()
    assert house.seats.streams == 2


async def test_operations_in_the_reserve_leave_half_of_it_to_probes() -> None:
    house = House()
    assert all(seat.take_operation() for seat in house.fill("a", "b"))
    reserve = [house.taken("c") for _ in range(4)]
    assert [seat.take_operation() for seat in reserve] == [True, True, False, False]
    reserve[0].idle()
    assert reserve[2].take_operation()


async def test_answers_hold_no_more_than_their_budget(mock_clock: MockClock) -> None:
    house = House()
    first, second, third = (house.taken() for _ in range(3))
    assert first.take_answer_bytes(MAX_ANSWER_BYTES - 10)
    assert second.take_answer_bytes(10)
    assert not third.take_answer_bytes(1)
    mock_clock.jump(FAIR_ANSWER_S)
    assert third.take_answer_bytes(1)
    assert house.closed == [0]
    assert house.seats.answer_bytes == 11
    assert not third.take_answer_bytes(MAX_ANSWER_BYTES + 1)


async def test_answer_larger_than_the_budget_displaces_nobody_that_is_new() -> None:
    house = House()
    first, second = house.taken(), house.taken()
    assert first.take_answer_bytes(1)
    assert not second.take_answer_bytes(MAX_ANSWER_BYTES)
    assert house.closed == []


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fd00:1:2:3:4:5:6:7", "fd00:1:2:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("@unnamed", "@unnamed"),
    ],
)
def test_peer_is_an_ipv4_address_or_an_ipv6_network(address: str, key: str) -> None:
    assert peer_key(address) == key


@pytest.mark.parametrize("connections", [5, 16, 48, 222, 964])
def test_limits_add_up_to_the_connections_there_may_be(connections: int) -> None:
    limits = SeatLimits.of(connections)
    assert limits.ordinary + limits.reserve == connections
    assert limits.ordinary >= 1
    assert 4 <= limits.reserve <= 64
    assert limits.streams < limits.ordinary or connections == 5


async def test_half_close_ends_a_wait_begun_before_it_and_one_begun_after_it() -> None:
    half_close = HalfClose()
    for _ in range(2):
        with trio.CancelScope() as scope:
            half_close.ended_by(scope)
            half_close.happen()
            await trio.sleep_forever()
        assert scope.cancelled_caught


_ACTIONS: dict[str, Callable[[Seat], object]] = {
    "busy": Seat.busy,
    "idle": Seat.idle,
    "stream": Seat.take_stream,
    "operation": Seat.take_operation,
    "answer": lambda seat: seat.take_answer_bytes(MAX_ANSWER_BYTES // 3),
    "linger": Seat.linger,
    "leave": Seat.leave,
    "give_way": Seat.give_way,
}


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "wait", *_ACTIONS]), st.integers(0, 3), st.sampled_from("abc"))
    )
)
def test_all_is_given_back_however_connections_end(steps: list[tuple[str, int, str]]) -> None:
    async def run() -> None:
        house = House()
        taken: list[Seat] = []
        for action, number, peer in steps:
            if action == "take":
                seat = house.take(peer)
                taken += [seat] if seat is not None else []
            elif action == "wait":
                clock.jump(FAIR_ANSWER_S)
            elif taken:
                _ACTIONS[action](taken[number % len(taken)])
            assert house.seats.open <= LIMITS.ordinary + LIMITS.reserve
            assert house.seats.streams <= LIMITS.streams
            assert house.seats.answer_bytes <= MAX_ANSWER_BYTES
        for seat in taken:
            seat.leave()
        fresh = vars(Seats(LIMITS))
        left = vars(house.seats)
        for name in fresh.keys() - {"limits", "_on_crowded_out"}:
            assert left[name] == fresh[name], name

    clock = MockClock()
    trio.run(run, clock=clock)
