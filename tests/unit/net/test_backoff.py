"""Retry delays grow, are spread, and have an end."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.net.backoff import Backoff


def test_backoff_ceiling_doubles_up_to_the_most() -> None:
    backoff = Backoff(initial_s=0.5, max_s=30)
    assert [backoff.ceiling_s(n) for n in (0, 1, 2, 5, 6, 7, 100_000)] == [0.5, 1, 2, 16, 30, 30, 30]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers())
def test_backoff_delay_lies_between_nothing_and_the_ceiling(failures: int, seed: int) -> None:
    backoff = Backoff()
    assert 0 <= backoff.delay_s(failures, Random(seed)) <= backoff.ceiling_s(failures)


def test_backoff_delays_fill_the_whole_interval() -> None:
    random = Random(1)
    delays = [Backoff().delay_s(2, random) for _ in range(1000)]
    assert min(delays) < 0.05
    assert max(delays) > 1.95


@pytest.mark.parametrize("wrong", [{"initial_s": 0}, {"initial_s": 2, "max_s": 1}, {"factor": 0.5}])
def test_backoff_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="want"):
        Backoff(**wrong)
