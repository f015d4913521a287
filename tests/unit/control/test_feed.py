"""The event feed keeps the order, reports gaps, wakes waiting followers, and has an end."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from minicloud.control.feed import BATCH_ENTRIES, EventFeed, Follower, Gap
from minicloud.store.port import MembershipEvent
from tests.unit.control.rest.kit import entry


def feed_of(*event_ids: int, capacity: int = 100) -> EventFeed:
    return EventFeed((entry(event_id) for event_id in event_ids), capacity=capacity)


async def received_by(follower: Follower) -> Gap | tuple[MembershipEvent, ...]:
    with trio.fail_after(5):
        return await follower.receive()


async def received_ids(follower: Follower) -> list[int]:
    received = await received_by(follower)
    assert not isinstance(received, Gap)
    return [entry.event_id for entry in received]


def test_feed_seeded_from_a_snapshot_goes_on_behind_it() -> None:
    feed = feed_of(7, 8)
    feed.publish(entry(9))
    assert feed.last_event_id == 9
    assert [kept.event_id for kept in feed.newest(2)] == [8, 9]
    assert [kept.event_id for kept in feed.newest(10)] == [7, 8, 9]
    assert [kept.event_id for kept in feed.after(7, 1)] == [8]
    assert [kept.event_id for kept in feed.after(6, 10)] == [7, 8, 9]


def test_feed_over_capacity_keeps_the_newest() -> None:
    feed = feed_of(1, 2, 3, capacity=2)
    feed.publish(entry(4))
    assert [kept.event_id for kept in feed.newest(10)] == [3, 4]


async def test_follower_from_now_on_waits_for_the_next(autojump_clock: trio.testing.MockClock) -> None:
    feed = feed_of(1)
    follower = feed.follow()
    got: list[int] = []

    async def follow() -> None:
        got.extend(await received_ids(follower))

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            assert got == []
            feed.publish(entry(2))
    assert got == [2]


async def test_follower_from_an_id_is_told_all_behind_it_in_batches() -> None:
    feed = EventFeed(entry(event_id) for event_id in range(1, 2 * BATCH_ENTRIES))
    follower = feed.follow(after=3)
    assert await received_ids(follower) == list(range(4, 4 + BATCH_ENTRIES))
    assert await received_ids(follower) == list(range(4 + BATCH_ENTRIES, 2 * BATCH_ENTRIES))


async def test_follower_too_far_behind_is_told_of_the_gap_first() -> None:
    feed = feed_of(1, 2, 3, 4, 5, capacity=2)
    follower = feed.follow(after=1)
    assert await received_by(follower) == Gap(seen_id=1, resumed_id=3)
    assert await received_ids(follower) == [4, 5]


async def test_follower_outrun_while_it_reads_is_told_of_the_gap() -> None:
    feed = feed_of(1, capacity=2)
    follower = feed.follow(after=0)
    assert await received_ids(follower) == [1]
    for event_id in range(2, 6):
        feed.publish(entry(event_id))
    assert await received_by(follower) == Gap(seen_id=1, resumed_id=3)
    assert await received_ids(follower) == [4, 5]


async def test_follower_right_before_the_oldest_has_no_gap() -> None:
    assert await received_ids(feed_of(4, 5).follow(after=3)) == [4, 5]


async def test_follower_of_an_id_not_reached_yet_starts_over_with_a_gap() -> None:
    follower = feed_of(1, 2).follow(after=500)
    assert await received_by(follower) == Gap(seen_id=500, resumed_id=0)
    assert await received_ids(follower) == [1, 2]


async def test_follower_of_a_history_that_is_gone_has_a_gap_and_then_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = EventFeed((), last_event_id=9)
    follower = feed.follow(after=2)
    assert await received_by(follower) == Gap(seen_id=2, resumed_id=9)
    with trio.move_on_after(1) as waiting:
        await follower.receive()
    assert waiting.cancelled_caught
    feed.publish(entry(10))
    assert await received_ids(follower) == [10]


async def test_follower_cancelled_while_waiting_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    feed = feed_of(1)
    follower = feed.follow()
    with trio.move_on_after(1):
        await follower.receive()
    feed.publish(entry(2))
    assert await received_ids(follower) == [2]


async def test_close_ends_followers_that_wait_and_those_to_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed = feed_of(1)

    async def follow() -> None:
        with pytest.raises(trio.EndOfChannel):
            await feed.follow().receive()

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            feed.close()
        await follow()


@given(
    capacity=st.integers(1, 8),
    steps=st.lists(st.sampled_from(["publish", "receive", "give up"]), max_size=40),
    start=st.integers(0, 3),
)
async def test_follower_is_told_of_everything_once_or_of_its_gap(
    capacity: int, steps: list[str], start: int
) -> None:
    feed = feed_of(*range(1, 4), capacity=capacity)
    follower = feed.follow(after=start)
    seen = start
    async with trio.open_nursery() as nursery:
        for step in steps:
            if step == "publish":
                feed.publish(entry(feed.last_event_id + 1))
            elif seen == feed.last_event_id:
                continue
            elif step == "give up":
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            else:
                received = await received_by(follower)
                if isinstance(received, Gap):
                    assert received.seen_id == seen
                    assert received.resumed_id == feed.newest(capacity)[0].event_id - 1 > seen
                    seen = received.resumed_id
                else:
                    assert [got.event_id for got in received] == list(range(seen + 1, feed.last_event_id + 1))
                    seen = feed.last_event_id
        nursery.cancel_scope.cancel()
