"""Streams change state by the table, and events without an entry in it are refused."""

from __future__ import annotations

import itertools

import pytest

from minicloud.http2.streams import TRANSITIONS, StreamEvent, Streams, StreamState

SENT, RECEIVED, RESET = StreamEvent.SENT_END, StreamEvent.RECEIVED_END, StreamEvent.RESET

# Events after the opening, and whether the stream is open, in whole or by half, after them.
SEQUENCES = [
    ([], True),
    ([SENT], True),
    ([RECEIVED], True),
    ([RESET], False),
    ([SENT, RECEIVED], False),
    ([RECEIVED, SENT], False),
    ([SENT, RESET], False),
    ([RECEIVED, RESET], False),
]


def test_table_has_a_row_for_each_state_and_a_column_for_each_event() -> None:
    assert [len(row) for row in TRANSITIONS] == [len(StreamEvent)] * len(StreamState)


def test_closed_stream_has_no_transition() -> None:
    assert set(TRANSITIONS[StreamState.CLOSED]) == {None}


@pytest.mark.parametrize("state", [state for state in StreamState if state is not StreamState.CLOSED])
def test_reset_closes_a_stream_in_any_state(state: StreamState) -> None:
    assert TRANSITIONS[state][RESET] is StreamState.CLOSED


def test_order_in_which_the_two_sides_end_does_not_matter() -> None:
    for first, second in itertools.permutations((SENT, RECEIVED)):
        half = TRANSITIONS[StreamState.OPEN][first]
        assert half is not None
        assert TRANSITIONS[half][second] is StreamState.CLOSED


@pytest.mark.parametrize(("events", "is_open"), SEQUENCES)
def test_stream_is_kept_until_both_sides_have_ended_or_it_is_reset(
    events: list[StreamEvent], is_open: bool
) -> None:
    streams = Streams()
    streams.open(1)
    assert all(streams.apply(1, event) for event in events)
    assert (1 in streams) is is_open
    assert len(streams) == int(is_open)


@pytest.mark.parametrize("event", StreamEvent)
def test_event_of_a_stream_that_is_not_open_changes_nothing(event: StreamEvent) -> None:
    streams = Streams()
    streams.open(1)
    assert not streams.apply(3, event)
    assert (1 in streams, 3 in streams) == (True, False)


@pytest.mark.parametrize("event", [SENT, RECEIVED])
def test_side_that_ends_twice_is_a_fault_of_ours(event: StreamEvent) -> None:
    streams = Streams()
    streams.open(1)
    streams.apply(1, event)
    with pytest.raises(AssertionError, match=event.name):
        streams.apply(1, event)


def test_stream_opened_twice_is_a_fault_of_ours() -> None:
    streams = Streams()
    streams.open(1)
    with pytest.raises(AssertionError, match="open already"):
        streams.open(1)
