"""Virtual time, processes and clocks: what every simulation stands on."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.engine.clocks import NodeClock, ProcessClock
from sim.engine.loop import run_virtually
from sim.engine.process import Process
from sim.engine.purity import ImpureError
from sim.engine.randomness import Streams
from sim.engine.timeline import Timeline


def _run(timeline: Timeline, main: Callable[[], Awaitable[None]], seed: int = 1) -> None:
    run_virtually(main, timeline, seed)


# Time


def test_timeline_events_of_one_instant_happen_in_the_order_in_which_they_were_planned() -> None:
    timeline = Timeline()
    seen: list[tuple[float, str]] = []

    def event(name: str) -> None:
        seen.append((timeline.now_s, name))

    async def main() -> None:
        for at_s, name in ((2.0, "b"), (1.0, "a"), (2.0, "c"), (2.0, "d")):
            timeline.at(at_s, event, name)
        await trio.sleep(3)

    _run(timeline, main)
    assert seen == [(1.0, "a"), (2.0, "b"), (2.0, "c"), (2.0, "d")]


_QUARTERS_S = st.integers(0, 20).map(lambda quarters: quarters / 4)


@settings(deadline=None)  # a machine may be busy
@given(plans=st.lists(st.tuples(_QUARTERS_S, _QUARTERS_S), max_size=30))
def test_timeline_order_does_not_depend_on_when_an_event_was_planned(
    plans: list[tuple[float, float]],
) -> None:
    timeline = Timeline()
    seen: list[tuple[float, int]] = []

    def event(number: int) -> None:
        seen.append((timeline.now_s, number))

    async def main() -> None:
        for number, (planned_at_s, when_s) in enumerate(plans):
            timeline.at(planned_at_s, timeline.at, when_s, event, number)
        await trio.sleep(6)

    _run(timeline, main)
    in_order_of_planning = sorted(enumerate(plans), key=lambda plan: plan[1][0])
    due = [(max(when_s, at_s), number) for number, (at_s, when_s) in in_order_of_planning]
    assert seen == sorted(due, key=lambda event: event[0])


def test_timeline_event_that_is_dropped_before_its_second_leaves_nothing_planned() -> None:
    timeline = Timeline()
    seen: list[str] = []

    async def main() -> None:
        dropped = [timeline.at(7.5, seen.append, "first")]
        timeline.at(7.5, seen.append, "kept")
        dropped.append(timeline.at(7.5, seen.append, "last"))
        before = timeline.planned
        for number in dropped:
            timeline.drop(7.5, number)
        assert timeline.planned == before - 2
        await trio.sleep(10)
        timeline.drop(7.5, dropped[0])  # again, long after

    _run(timeline, main)
    assert seen == ["kept"]


def test_timeline_event_planned_for_the_past_happens_now() -> None:
    timeline = Timeline()
    seen: list[float] = []

    async def main() -> None:
        await trio.sleep(5)
        timeline.at(1.0, lambda: seen.append(timeline.now_s))
        await trio.sleep(1)

    _run(timeline, main)
    assert seen == [5.0]


def test_timeline_event_at_the_deadline_of_a_task_happens_before_the_task_goes_on() -> None:
    timeline = Timeline()
    seen: list[str] = []

    async def main() -> None:
        timeline.at(1.0, lambda: seen.append("event"))
        await trio.sleep_until(1.0)
        seen.append("task")

    _run(timeline, main)
    assert seen == ["event", "task"]


def test_loop_with_one_seed_runs_tasks_in_one_order_and_with_another_in_another() -> None:
    def order(seed: int) -> list[int]:
        seen: list[int] = []

        async def task(number: int) -> None:
            await trio.sleep(1)
            seen.append(number)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(task, number)

        _run(Timeline(), main, seed)
        return seen

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_loop_leaves_trio_its_own_generator() -> None:
    async def main() -> None: ...

    before = trio._core._run._r
    _run(Timeline(), main)
    assert trio._core._run._r is before


# Purity


_REAL: dict[str, Callable[[], object]] = {
    "wall clock": lambda: time.time(),
    "monotonic clock": lambda: time.monotonic(),
    "uuid": lambda: uuid.uuid4(),
    "generator nobody seeded": lambda: random.random(),
}


@pytest.mark.parametrize("ask", _REAL.values(), ids=_REAL)
def test_simulation_that_asks_for_something_real_fails(ask: Callable[[], object]) -> None:
    async def main() -> None:
        with pytest.raises(ImpureError):
            ask()

    _run(Timeline(), main)
    ask()  # and out of it nothing has changed


def test_simulation_that_starts_a_thread_fails() -> None:
    async def main() -> None:
        with pytest.raises(ImpureError):
            await trio.to_thread.run_sync(lambda: None)

    # Trio keeps a spare thread, which needs no start: there must be none yet.
    trio._core._thread_cache.THREAD_CACHE._idle_workers.clear()
    _run(Timeline(), main)


def test_stream_depends_on_the_seed_and_its_names_alone() -> None:
    first = Streams(7).stream("worker-1", "program").random()
    streams = Streams(7)
    streams.stream("worker-1", "clock").random()
    assert streams.stream("worker-1", "program").random() == first
    assert Streams(8).stream("worker-1", "program").random() != first
    assert Streams(7).stream("worker-1program").random() != first


# Processes


def test_process_that_is_paused_does_what_came_meanwhile_in_order_when_it_goes_on() -> None:
    timeline = Timeline()
    process = Process(timeline, "node")
    seen: list[tuple[float, str]] = []

    def event(name: str) -> None:
        seen.append((timeline.now_s, name))

    async def main() -> None:
        for at_s, name in ((1.0, "a"), (2.0, "b"), (3.0, "c"), (9.0, "d")):
            timeline.at(at_s, event, name, host=process)
        timeline.at(1.5, process.pause)
        timeline.at(5.0, process.resume)
        await trio.sleep(10)

    _run(timeline, main)
    assert seen == [(1.0, "a"), (5.0, "b"), (5.0, "c"), (9.0, "d")]


def test_process_paused_twice_goes_on_after_the_second_resume() -> None:
    timeline = Timeline()
    process = Process(timeline, "node")
    seen: list[float] = []

    async def main() -> None:
        timeline.at(1.0, lambda: seen.append(timeline.now_s), host=process)
        for at_s, call in ((0.1, process.pause), (0.2, process.pause), (2.0, process.resume)):
            timeline.at(at_s, call)
        await trio.sleep(3)
        assert process.paused
        assert seen == []
        process.resume()
        await trio.sleep(1)

    _run(timeline, main)
    assert seen == [3.0]


def test_process_that_is_killed_runs_nothing_any_more_not_even_what_its_finally_blocks_plan() -> None:
    timeline = Timeline()
    process = Process(timeline, "node")
    seen: list[str] = []

    async def program() -> None:
        timeline.at(3.0, seen.append, "a timer", host=process)
        try:
            await trio.sleep_forever()
        finally:
            timeline.at(timeline.now_s, seen.append, "a last word", host=process)

    async def main() -> None:
        process.at_end[lambda: seen.append("ended")] = None
        timeline.at(1.0, process.kill)
        await process.run(program)
        await trio.sleep(5)

    _run(timeline, main)
    assert seen == ["ended"]
    assert not process.alive
    assert process.failure is None


def test_process_killed_while_paused_does_nothing_when_it_is_resumed() -> None:
    timeline = Timeline()
    process = Process(timeline, "node")
    seen: list[str] = []

    async def main() -> None:
        process.pause()
        timeline.at(1.0, seen.append, "put off", host=process)
        timeline.at(9.0, seen.append, "later", host=process)
        await trio.sleep(2)
        process.kill()
        process.resume()
        process.carry_out(seen.append, "now")
        await trio.sleep(10)

    _run(timeline, main)
    assert seen == []
    assert not process.running


def test_process_whose_program_fails_says_why() -> None:
    timeline = Timeline()
    process = Process(timeline, "node")

    async def program() -> None:
        raise ValueError("a bug")

    _run(timeline, lambda: process.run(program))
    assert not process.alive
    assert isinstance(process.failure, ValueError)


# Clocks


def test_clock_with_offset_and_drift_wakes_a_sleeper_when_it_shows_the_time() -> None:
    timeline = Timeline()
    clock = NodeClock(timeline, offset_s=1000.0, rate=2.0)
    process_clock = ProcessClock(clock, Process(timeline, "node"))

    async def main() -> None:
        await process_clock.sleep_until(1010.0)
        assert timeline.now_s == pytest.approx(5.0)
        assert clock.monotonic_s() >= 1010.0

    _run(timeline, main)


def test_clock_whose_rate_changes_wakes_a_sleeper_by_the_new_rate() -> None:
    timeline = Timeline()
    clock = NodeClock(timeline)
    process_clock = ProcessClock(clock, Process(timeline, "node"))

    async def main() -> None:
        timeline.at(4.0, clock.set_rate, 3.0)
        await process_clock.sleep_until(10.0)
        assert timeline.now_s == pytest.approx(6.0)

    _run(timeline, main)


def test_clock_that_slows_down_wakes_nobody_by_its_old_rate_and_shows_no_more_than_has_passed() -> None:
    timeline = Timeline()
    clock = NodeClock(timeline)
    process_clock = ProcessClock(clock, Process(timeline, "node"))
    shown_s: list[float] = []

    async def main() -> None:
        timeline.at(4.0, clock.set_rate, 0.5)
        timeline.at(12.0, lambda: shown_s.append(clock.monotonic_s()))
        await process_clock.sleep_until(10.0)
        assert timeline.now_s == pytest.approx(16.0)

    _run(timeline, main)
    assert shown_s == [8.0]


def test_clock_whose_wall_is_set_back_goes_on_monotonically() -> None:
    timeline = Timeline()
    clock = NodeClock(timeline, offset_s=5.0)

    async def main() -> None:
        await trio.sleep(10)
        before_s = clock.wall_s()
        clock.step_wall(-3600)
        assert clock.wall_s() == before_s - 3600
        assert clock.monotonic_s() == 15.0

    _run(timeline, main)


def test_clock_of_a_paused_process_goes_on_and_its_sleeper_wakes_late() -> None:
    timeline = Timeline()
    clock = NodeClock(timeline)
    process = Process(timeline, "node")

    async def main() -> None:
        timeline.at(1.0, process.pause)
        timeline.at(60.0, process.resume)
        await ProcessClock(clock, process).sleep_until(10.0)

    _run(timeline, main)
    assert clock.monotonic_s() == 60.0


def test_clock_whose_rate_changes_wakes_no_sleeper_of_a_paused_process() -> None:
    timeline = Timeline()
    clock = NodeClock(timeline)
    process = Process(timeline, "node")
    woken: list[float] = []

    async def main() -> None:
        timeline.at(1.0, process.pause)
        timeline.at(20.0, clock.set_rate, 2.0)
        timeline.at(30.0, process.resume)
        await ProcessClock(clock, process).sleep_until(10.0)
        woken.append(timeline.now_s)

    _run(timeline, main)
    assert woken == [30.0]


@settings(deadline=None)
@example(offset_s=4289.506085009182, rate=0.95, sleeps_s=[7801.458449556659])  # an ulp short when it is due
@given(
    offset_s=st.floats(0, 1e9),
    rate=st.floats(0.5, 2.0),
    sleeps_s=st.lists(st.floats(1e-9, 1e4), min_size=1, max_size=5),
)
def test_clock_never_lets_a_sleeper_wake_early_nor_twice_for_rounding(
    offset_s: float, rate: float, sleeps_s: list[float]
) -> None:
    timeline = Timeline()
    clock = NodeClock(timeline, offset_s, rate)
    process_clock = ProcessClock(clock, Process(timeline, "node"))

    async def main() -> None:
        for sleep_s in sleeps_s:
            due_s = process_clock.monotonic_s() + sleep_s
            await process_clock.sleep_until(due_s)
            assert process_clock.monotonic_s() >= due_s

    _run(timeline, main)
    assert timeline.events <= len(sleeps_s)
    assert timeline.now_s == pytest.approx(sum(sleeps_s) / rate, rel=1e-6, abs=1e-5)
