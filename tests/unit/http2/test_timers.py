"""The timers of a connection fall due by a table."""

from __future__ import annotations

import math

import pytest

from minicloud.http2.config import Timeouts
from minicloud.http2.timers import ConnectionTimers, Due

TIMEOUTS = Timeouts(
    handshake_s=10, keepalive_s=60, keepalive_timeout_s=20, max_idle_s=900, max_age_s=5000, max_age_grace_s=30
)


def ready_timers() -> ConnectionTimers:
    timers = ConnectionTimers(TIMEOUTS, now_s=0)
    timers.ready = True
    return timers


def test_handshake_is_due_first_and_ends_when_it_is_due() -> None:
    timers = ConnectionTimers(TIMEOUTS, now_s=0)
    assert timers.poll(9.9) == (Due.NOTHING, 10)
    assert timers.poll(10) == (Due.NO_HANDSHAKE, 10)


def test_ping_is_due_after_silence_and_the_answer_after_the_ping() -> None:
    timers = ready_timers()
    timers.heard(5)
    assert timers.poll(64) == (Due.NOTHING, 65)
    assert timers.poll(65)[0] is Due.PING
    timers.pinged(65)
    assert timers.poll(84) == (Due.NOTHING, 85)
    assert timers.poll(85)[0] is Due.NO_ANSWER
    timers.heard(84)  # any frame is an answer
    assert timers.poll(85) == (Due.NOTHING, 144)


@pytest.mark.parametrize(("idle_since_s", "due"), [(0, Due.IDLE), (1, Due.NOTHING), (None, Due.NOTHING)])
def test_idleness_counts_from_the_end_of_the_last_call(idle_since_s: float | None, due: Due) -> None:
    timers = ready_timers()
    timers.heard(899)
    timers.idle_since_s = idle_since_s
    assert timers.poll(900)[0] is due


def test_age_is_due_calls_or_none() -> None:
    timers = ready_timers()
    timers.idle_since_s = None
    timers.heard(4999)
    assert timers.poll(5000)[0] is Due.AGED


def test_grace_takes_the_place_of_idleness_and_age() -> None:
    timers = ready_timers()
    timers.heard(5999)
    timers.grace_ends_s = 6010
    assert timers.poll(6000) == (Due.NOTHING, 6010)
    assert timers.poll(6010)[0] is Due.GRACE_OVER


def test_busy_connection_is_asked_again_before_it_could_be_idle() -> None:
    timers = ConnectionTimers(Timeouts(keepalive_s=math.inf, max_idle_s=100), now_s=0)
    timers.ready = True
    timers.idle_since_s = None
    _, again_s = timers.poll(50)
    assert again_s <= 50 + 100


def test_timeouts_that_are_off_are_never_due() -> None:
    timers = ConnectionTimers(Timeouts(keepalive_s=math.inf, max_idle_s=math.inf), now_s=0)
    timers.ready = True
    assert timers.poll(1e9) == (Due.NOTHING, math.inf)


def test_silence_of_a_peer_that_owes_no_answer_is_no_reason_to_ping() -> None:
    timers = ConnectionTimers(
        Timeouts(keepalive_s=10, keepalive_without_calls=False, max_idle_s=math.inf), now_s=0
    )
    timers.ready = True
    due, again_s = timers.poll(1000)
    assert due is Due.NOTHING
    assert again_s <= 1000 + 10  # before a call that begins now could be unanswered for too long
    timers.idle_since_s = None
    timers.asked(1000)
    timers.asked(1005)
    assert timers.poll(1009) == (Due.NOTHING, 1010)
    timers.idle_since_s = 1009  # given up
    assert timers.poll(1010)[0] is Due.PING
    timers.heard(1010)
    assert timers.poll(1019)[0] is Due.NOTHING


def test_silence_of_a_peer_with_calls_open_counts_from_its_last_frame() -> None:
    timers = ConnectionTimers(
        Timeouts(keepalive_s=10, keepalive_without_calls=False, max_idle_s=math.inf), now_s=0
    )
    timers.ready = True
    timers.idle_since_s = None
    timers.asked(0)
    timers.heard(8)
    assert timers.poll(9) == (Due.NOTHING, 18)
    assert timers.poll(18)[0] is Due.PING
