"""Queries are counted and refused."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from minicloud.worker.queries import NotAcceptingError, QueryTracker


def test_tracker_counts_queries_however_they_end() -> None:
    tracker = QueryTracker()
    with tracker.query(), tracker.query():
        assert tracker.active == 2
    with pytest.raises(ZeroDivisionError), tracker.query():
        raise ZeroDivisionError
    assert tracker.active == 0


def test_tracker_not_accepting_refuses_new_queries_and_keeps_running_ones() -> None:
    tracker = QueryTracker()
    with tracker.query():
        tracker.stop_accepting()
        with pytest.raises(NotAcceptingError, match="another"), tracker.query():
            raise AssertionError("it was let in")
        assert (tracker.accepting, tracker.active) == (False, 1)
    tracker.resume()
    with tracker.query():
        assert tracker.active == 1


async def test_tracker_idle_waits_for_nothing(autojump_clock: MockClock) -> None:
    await QueryTracker().wait_idle()
    assert trio.current_time() == 0


async def test_tracker_waits_for_the_last_of_overlapping_queries(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    tracker = QueryTracker()

    async def run(delay_s: float, duration_s: float) -> None:
        await trio.sleep(delay_s)
        with tracker.query():
            await trio.sleep(duration_s)

    nursery.start_soon(run, 0, 10)
    nursery.start_soon(run, 5, 20)
    await trio.sleep(1)
    await tracker.wait_idle()
    assert trio.current_time() == 25


async def test_tracker_query_started_as_the_last_one_ended_is_waited_for_too(
    nursery: trio.Nursery,
) -> None:
    tracker = QueryTracker()
    idle_seen: list[int] = []

    async def watch() -> None:
        await tracker.wait_idle()
        idle_seen.append(tracker.active)

    with tracker.query():
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
    with tracker.query():  # in the same step, in which the watcher has been woken and has not run yet
        await wait_all_tasks_blocked()
        assert idle_seen == []
    await wait_all_tasks_blocked()
    assert idle_seen == [0]
