from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.config.durations import format_duration, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("300ms", 0.3),
        ("30s", 30.0),
        ("2m", 120.0),
        ("1.5h", 5400.0),
        ("7d", 604800.0),
        ("0s", 0.0),
        (" 30 s ", 30.0),
    ],
)
def test_duration_well_formed_parses_to_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "-1s", "+1s", "1h30m", "30S", "30sec", "1e3s", "inf s", "nan", ".5s", "٣s", "30s\n2m"],
)
def test_duration_malformed_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="30s or 2m"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "500ms"), (90.0, "90s"), (120.0, "2m"), (86400.0, "1d"), (0.0, "0ms")]
)
def test_duration_formatted_uses_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**11))
def test_duration_formatted_parses_back(milliseconds: int) -> None:
    assert parse_duration_s(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)
