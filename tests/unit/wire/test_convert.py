"""Core types as messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from minicloud.wire.convert import timestamp


@example(unix_ms=1_800_000_000_001)
@given(unix_ms=st.integers(0, 8_000_000_000_000))  # to the year 2223
def test_timestamp_is_exact_to_the_millisecond(unix_ms: int) -> None:
    assert timestamp(unix_ms) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)
