"""Deadlines of one length fall due in order, and can be started and stopped."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from minicloud.core.liveness.deadlines import Deadline, Deadlines


def test_deadlines_of_nobody_are_never_due() -> None:
    deadlines = Deadlines(10.0)
    assert deadlines.next_s() == math.inf
    assert list(deadlines.due(math.inf)) == []


def test_deadline_that_ends_now_has_passed() -> None:
    deadlines = Deadlines(10.0)
    deadlines.start(Deadline("a"), 5.0)
    assert deadlines.next_s() == 15.0
    assert list(deadlines.due(math.nextafter(15.0, 0.0))) == []
    assert list(deadlines.due(15.0)) == [("a", 15.0)]


def test_deadline_started_anew_goes_to_the_end() -> None:
    deadlines = Deadlines(10.0)
    first, second = Deadline("first"), Deadline("second")
    deadlines.start(first, 0.0)
    deadlines.start(second, 1.0)
    deadlines.start(first, 2.0)
    assert list(deadlines.due(100.0)) == [("second", 11.0), ("first", 12.0)]


def test_deadline_started_with_an_earlier_time_counts_as_started_with_the_latest() -> None:
    deadlines = Deadlines(10.0)
    deadlines.start(Deadline("a"), 5.0)
    deadlines.start(Deadline("b"), 3.0)
    assert list(deadlines.due(100.0)) == [("a", 15.0), ("b", 15.0)]


def test_deadline_started_elsewhere_leaves_the_first_place() -> None:
    leases, retentions = Deadlines(10.0), Deadlines(100.0)
    deadline = Deadline("a")
    leases.start(deadline, 0.0)
    retentions.start(deadline, 10.0)
    assert leases.next_s() == math.inf
    assert list(retentions.due(110.0)) == [("a", 110.0)]


def test_deadline_stopped_twice_or_before_it_started_is_in_no_order() -> None:
    deadlines = Deadlines(10.0)
    deadline = Deadline("a")
    deadline.stop()
    deadlines.start(deadline, 0.0)
    deadline.stop()
    deadline.stop()
    assert deadlines.next_s() == math.inf


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),  # the number of the deadline
            st.sampled_from(["start", "start elsewhere", "stop"]),
            st.floats(-1.0, 5.0),  # time gone by; may go back
        ),
        max_size=60,
    )
)
def test_deadlines_after_any_steps_agree_with_a_sorted_list(steps: list[tuple[int, str, float]]) -> None:
    deadlines, elsewhere = Deadlines(10.0), Deadlines(10.0)
    owners = [Deadline(str(number)) for number in range(8)]
    model: list[tuple[str, float]] = []  # in the order in which they were started
    now_s = 0.0
    latest_s = -math.inf
    for number, step, passed_s in steps:
        now_s += passed_s
        model = [each for each in model if each[0] != str(number)]
        if step == "start":
            latest_s = max(latest_s, now_s)
            deadlines.start(owners[number], now_s)
            model.append((str(number), latest_s + 10.0))
        elif step == "stop":
            owners[number].stop()
        else:
            elsewhere.start(owners[number], now_s)
        assert list(deadlines.due(math.inf)) == model
        due = [due_s for _, due_s in model]
        assert due == sorted(due)
        assert deadlines.next_s() == min(due, default=math.inf)
        halfway_s = due[len(due) // 2] if due else 0.0
        assert list(deadlines.due(halfway_s)) == [each for each in model if each[1] <= halfway_s]
