"""Changes that wait to be written stay in order, are taken and put back whole, and are bounded without losing
a worker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minicloud.store.port import Change
from minicloud.store.sqlite.pending import Pending
from tests.unit.store.changes import gone, kept


def filled(*changes: Change, limit: int = 10) -> Pending:
    pending = Pending(limit)
    for second, change in enumerate(changes):
        pending.add(change, float(second))
    return pending


def test_batch_taken_holds_the_oldest_in_order_and_knows_how_many_are_done_with_it() -> None:
    pending = filled(*map(kept, range(1, 6)))
    first, rest = pending.take(2), pending.take(100)
    assert [change.incarnation_floor for change in first.changes] == [0, 0]
    assert list(first.changes) == [kept(1), kept(2)]
    assert list(rest.changes) == [kept(3), kept(4), kept(5)]
    assert (first.upto, rest.upto, len(pending)) == (2, 5, 0)
    assert pending.since_s is None


def test_batch_put_back_is_taken_again_before_what_came_meanwhile() -> None:
    pending = filled(kept(1), kept(2))
    batch = pending.take(1)
    pending.add(kept(3), 7.0)
    pending.put_back(batch)
    assert pending.since_s == 0.0
    assert list(pending.take(100).changes) == [kept(1), kept(2), kept(3)]


def test_age_is_that_of_the_first_change_since_it_was_empty() -> None:
    pending = filled()
    pending.add(kept(1), 5.0)
    pending.add(kept(2), 6.0)
    assert pending.since_s == 5.0
    pending.take(100)
    pending.add(kept(3), 9.0)
    assert pending.take(100).since_s == 9.0


def test_changes_up_to_the_bound_lose_nothing() -> None:
    pending = filled(*map(kept, range(1, 11)), limit=10)
    assert pending.bound() == 0
    assert [change.entry for change in pending.take(100).changes] == [kept(n).entry for n in range(1, 11)]


def test_changes_beyond_the_bound_lose_their_oldest_entries_and_no_worker() -> None:
    pending = filled(kept(1, "a"), kept(2, "b"), kept(3, "a"), gone(4, "b"), kept(5, "c"), limit=2)
    assert pending.bound() == 3
    assert pending.bound() == 0
    batch = pending.take(100)
    assert [change.entry and change.entry.event_id for change in batch.changes] == [None, None, 4, 5]
    last = {change.worker_id: change.worker for change in batch.changes}
    assert last == {"a": kept(3, "a").worker, "b": None, "c": kept(5, "c").worker}
    assert batch.upto == 5


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abc"), st.booleans()),
            st.tuples(st.sampled_from(["bound", "fail"]), st.integers(0, 6), st.just(False)),
        ),
        max_size=60,
    )
)
def test_any_order_of_failures_and_bounds_leaves_each_worker_as_its_last_change_did(
    steps: list[tuple[str, str | int, bool]],
) -> None:
    pending = Pending(limit=4)
    expected: dict[str, object] = {}
    ids: list[int] = []
    dropped = 0
    for number, (step, what, leaves) in enumerate(steps, start=1):
        if step == "add":
            change = gone(number, str(what)) if leaves else kept(number, str(what))
            expected[change.worker_id] = change.worker
            ids.append(number)
            pending.add(change, float(number))
        elif step == "bound":
            dropped += pending.bound()
            assert len(pending) <= 4 + 3
        else:
            pending.put_back(pending.take(int(what)))
    batch = pending.take(1000)
    assert {change.worker_id: change.worker for change in batch.changes} == expected
    written = [change.entry.event_id for change in batch.changes if change.entry is not None]
    assert written == ids[dropped:]
    assert batch.upto == len(ids)
