"""A duration is written as a number and a unit.

A bare number is refused: `30` has meant seconds, milliseconds and minutes in the files of as many programs.
"""

from __future__ import annotations

import re

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)", re.ASCII)


def parse_duration_s(text: str) -> float:
    """Return the seconds of `500ms`, `30s`, `1.5h`, `7d`. Raises `ValueError`, which says how to
    write one."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            "is not a duration: write a number and a unit (ms, s, m, h, d), as in 500ms, 30s or 2m"
        )
    # Milliseconds are divided where the other units are multiplied: 300 * 0.001 is not 0.3.
    return float(found[1]) / 1000 if found[2] == "ms" else float(found[1]) * _UNIT_S[found[2]]


def format_duration(seconds: float) -> str:
    """Format `seconds` for `parse_duration_s`, in the largest unit that needs no fraction: 120.0 is `2m`."""
    milliseconds = round(seconds * 1000)
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= size_ms and milliseconds % size_ms == 0:
            return f"{milliseconds // size_ms}{unit}"
    return f"{milliseconds}ms"
