"""Core types are converted to messages and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minicloud.core.errors import InvalidError
from minicloud.wire.convert import resources_from_message, timestamp
from minicloud.wire.gen.minicloud.common import ResourceInfo


@example(unix_ms=1_800_000_000_001)
@given(unix_ms=st.integers(0, 8_000_000_000_000))  # to the year 2223
def test_timestamp_is_exact_to_the_millisecond(unix_ms: int) -> None:
    assert timestamp(unix_ms) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)


@pytest.mark.parametrize(
    ("memory_mb", "utilization", "sent_mb", "used_mb"),
    [
        (8000, 0.5, 0, 4000),
        (8000, 1.0, 0, 8000),
        (3, 0.5, 0, 2),
        (2**63 - 1, 1.0, 0, 2**63 - 1),
        # The message is not changed, and an absent one stays absent.
        (8000, 0.5, 1, 1),
        (8000, 0.0, 4000, 4000),
        (8000, 0.0, 0, 0),
        (0, 0.5, 0, 0),
    ],
)
def test_memory_in_use_is_derived_where_the_fraction_alone_was_sent(
    memory_mb: int, utilization: float, sent_mb: int, used_mb: int
) -> None:
    message = ResourceInfo(memory_mb=memory_mb, memory_utilization=utilization, memory_used_mb=sent_mb)
    resources = resources_from_message(message)
    assert resources is not None
    assert (resources.memory_used_mb, resources.memory_utilization) == (used_mb, utilization)


@pytest.mark.parametrize(
    ("memory_mb", "utilization"), [(8000, float("nan")), (8000, float("inf")), (8000, 1.1), (-1, 0.5)]
)
def test_memory_impossible_is_refused_before_anything_is_derived(memory_mb: int, utilization: float) -> None:
    with pytest.raises(InvalidError):
        resources_from_message(ResourceInfo(memory_mb=memory_mb, memory_utilization=utilization))
