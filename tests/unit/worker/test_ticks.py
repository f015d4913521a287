"""Beats are due at the right times, whatever the answers do."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from minicloud.worker.ticks import JITTER, Ticks

PERIODS_S = st.floats(0.1, 600)
STARTS_S = st.floats(0, 1e7)
# The delays, in periods, with which beats are dealt with: mostly none, now and then far too late.
DELAYS = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 50)), min_size=1, max_size=40)


@given(start_s=STARTS_S, period_s=PERIODS_S, seed=st.integers(0, 2**32))
def test_first_tick_lies_within_one_period_of_the_start(start_s: float, period_s: float, seed: int) -> None:
    ticks = Ticks(start_s, period_s, Random(seed))
    assert start_s - JITTER * period_s <= ticks.due_s <= start_s + period_s


@given(start_s=STARTS_S, period_s=PERIODS_S, seed=st.integers(0, 2**32), delays=DELAYS)
def test_ticks_under_any_delays_stay_on_one_grid_ahead_of_now_and_within_a_period(
    start_s: float, period_s: float, seed: int, delays: list[float]
) -> None:
    ticks = Ticks(start_s, period_s, Random(seed))
    origin_s = ticks.due_s
    phases = [0.0]  # off the grid through the first beat, in periods
    slack_s = 1e-6 * period_s + 1e-8
    for delay in delays:
        due_s = ticks.due_s
        now_s = due_s + delay * period_s
        ticks.advance(now_s)
        step_s = ticks.due_s - due_s
        assert step_s >= (1 - JITTER) * period_s - slack_s  # no burst
        assert ticks.due_s > now_s - JITTER * period_s  # not behind
        assert ticks.due_s <= now_s + (1 + JITTER) * period_s + slack_s  # nothing left out
        phases.append(((ticks.due_s - origin_s) / period_s + 0.5) % 1 - 0.5)
    assert max(phases) - min(phases) <= JITTER + 2e-6  # no drift, however many beats


@given(period_s=PERIODS_S, early=st.floats(0.01, 1), seed=st.integers(0, 2**32))
def test_advance_before_the_beat_is_due_changes_nothing(period_s: float, early: float, seed: int) -> None:
    ticks = Ticks(1000.0, period_s, Random(seed))
    due_s = ticks.due_s
    ticks.advance(due_s - early * period_s)
    assert ticks.due_s == due_s


@given(period_s=PERIODS_S, new_s=PERIODS_S, seed=st.integers(0, 2**32))
def test_period_changed_puts_the_next_tick_one_new_period_ahead(
    period_s: float, new_s: float, seed: int
) -> None:
    ticks = Ticks(0.0, period_s, Random(seed))
    before_s = ticks.due_s
    ticks.change_period(new_s, 500.0)
    if new_s == period_s:
        assert ticks.due_s == before_s
    else:
        assert 500 + (1 - JITTER) * new_s <= ticks.due_s <= 500 + new_s
        assert ticks.period_s == new_s


def test_jitter_is_drawn_anew_for_each_tick() -> None:
    ticks = Ticks(0.0, 100.0, Random(5))
    early_s = []
    for _ in range(200):
        tick_s = ticks.due_s
        ticks.advance(ticks.due_s)
        early_s.append(ticks.due_s - tick_s - 100.0)
    assert len({round(value, 6) for value in early_s}) > 190
    assert max(abs(value) for value in early_s) <= 100 * JITTER


class Unshaken(Random):
    """An `Unshaken` draws nothing but zeros: the first tick is the start, and each beat is due at its
    tick."""

    def random(self) -> float:
        return 0.0


@given(start_s=STARTS_S, period_s=PERIODS_S, periods=st.integers(0, 60))
def test_tick_reached_to_the_very_instant_is_past(start_s: float, period_s: float, periods: int) -> None:
    ticks = Ticks(start_s, period_s, Unshaken())
    now_s = start_s + periods * period_s
    ticks.advance(now_s)
    assert ticks.due_s > now_s
