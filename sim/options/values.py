"""The kinds of values that scenarios have: how each is written, checked and converted.

    probability = share()
    probability.read("15%")    # 0.15
    probability.read("150%")   # ValueError: is out of range: give 0% to 100%, as in 5% or 0.05

Always holds: a value that `read` returns has passed `check`, which also serves schedules
(tests/sim/test_scenario_table.py). The text of a `ValueError` follows the value in a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minicloud.config.durations import format_duration, parse_duration_s

YEAR_S = 365 * 86_400.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_WORKER = re.compile(r"worker-(0|[1-9][0-9]{0,6})", re.ASCII)
_HOW_TO_WRITE_A_DURATION = (
    "is not a duration: write a number and a unit (ms, s, m, h, d) in quotes, as in '500ms', '30s' or '2m'"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `shown` describes it in documents.

    `convert` turns a written value into the one that the code uses, `write` does the reverse, `check` refuses
    a value out of range. All raise `ValueError`.
    """

    shown: str
    convert: Callable[[object], Any]
    check: Callable[[Any], None]
    write: Callable[[Any], str] = str

    def read(self, value: object) -> Any:
        """Convert and check a written value. Raises `ValueError`."""
        converted = self.convert(value)
        self.check(converted)
        return converted


def duration(least_s: float = 0.0, most_s: float = YEAR_S) -> Kind:
    """A duration, in seconds."""
    return Kind(
        f"duration, {_shown_s(least_s)} to {_shown_s(most_s)}",
        _to_seconds,
        _in_range(least_s, most_s, _shown_s),
        _shown_s,
    )


def offset(most_s: float) -> Kind:
    """A duration, forward or back, in seconds."""

    def convert(value: object) -> float:
        if isinstance(value, str) and value.startswith("-"):
            return -_to_seconds(value[1:])
        return _to_seconds(value)

    most = _shown_s(most_s)
    return Kind(f"duration, -{most} to {most}", convert, _in_range(-most_s, most_s, _shown_s), _shown_s)


def span(most_s: float = YEAR_S) -> Kind:
    """A pair of durations in seconds; one duration stands for both."""

    def convert(value: object) -> tuple[float, float]:
        if isinstance(value, list | tuple):
            return _to_pair(value)
        seconds = _to_seconds(value)
        return seconds, seconds

    return Kind(
        f"duration, 0s to {_shown_s(most_s)}, or a range of two to draw from, ['10s', '1m']",
        convert,
        _pair_in_range(most_s),
        _written_pair,
    )


def pair(most_s: float) -> Kind:
    """A range of durations: the least and the most seconds."""

    def convert(value: object) -> tuple[float, float]:
        if not isinstance(value, list | tuple):
            raise ValueError("is not a range: give the least and the most, as in ['1ms', '5ms']")
        return _to_pair(value)

    return Kind(
        f"range of two durations, 0s to {_shown_s(most_s)}, ['1ms', '5ms']",
        convert,
        _pair_in_range(most_s),
        _written_pair,
    )


def share() -> Kind:
    """A fraction from 0 to 1."""
    right = "give 0% to 100%, as in '5%' or 0.05"

    def convert(value: object) -> float:
        if isinstance(value, str) and value.endswith("%"):
            return _to_number(value[:-1].strip(), f"is not a share: {right}") / 100
        if isinstance(value, str):
            raise ValueError(f"is not a share: {right}")
        return _to_number(value, f"is not a share: {right}")

    def check(value: Any) -> None:
        if not (_is_number(value) and 0 <= value <= 1):
            raise ValueError(f"is out of range: {right}")

    return Kind("share, 0% to 100%, or 0.0 to 1.0", convert, check, lambda value: f"{value * 100:g}%")


def number(least: float, most: float) -> Kind:
    """A floating-point number."""
    return Kind(
        f"number, {least:g} to {most:g}",
        lambda value: _to_number(value, f"is not a number: give {least:g} to {most:g}"),
        _in_range(least, most, lambda value: f"{value:g}"),
        lambda value: f"{value:g}",
    )


def whole(least: int, most: int) -> Kind:
    """A whole number."""
    right = f"give {least} to {most}"

    def convert(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"is not a whole number: {right}")
        return value

    return Kind(f"whole number, {least} to {most}", convert, _in_range(least, most, str))


def choice(*words: str) -> Kind:
    """One of `words`."""

    def check(value: Any) -> None:
        if value not in words:
            raise ValueError(f"is not one of {', '.join(words)}")

    return Kind(f"one of {', '.join(words)}", _to_text, check)


def worker() -> Kind:
    """The name of a worker's machine."""

    def check(value: Any) -> None:
        if not (isinstance(value, str) and _WORKER.fullmatch(value)):
            raise ValueError("is not a worker: give its machine's name, as in worker-3")

    return Kind("a worker's machine, as in worker-3", _to_text, check)


def text(most: int = 500) -> Kind:
    """Any text of one line."""

    def check(value: Any) -> None:
        if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= most):
            raise ValueError(f"is not a line of text: give 1 to {most} printable characters")

    return Kind(f"text of one line, up to {most} characters", _to_text, check)


def name() -> Kind:
    """A name that can be part of a file's name."""

    def check(value: Any) -> None:
        if not (isinstance(value, str) and _NAME.fullmatch(value)):
            raise ValueError("is not a name: give up to 64 letters, digits, '-', '_' or '.'")

    return Kind("name: up to 64 letters, digits, -, _ or .", _to_text, check)


def names(shown: str, most: int, least: int = 0, known: Callable[[], Sequence[str]] | None = None) -> Kind:
    """A list of different names, all of them `known` where that is given."""

    def convert(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ValueError("is not a list of names: write ['first', 'second']")
        return tuple(value)

    def check(value: Any) -> None:
        if not least <= len(value) <= most:
            raise ValueError(f"has {len(value)} names: give {least} to {most}")
        for number, each in enumerate(value):
            if each in value[:number]:
                raise ValueError(f"has {each!r} twice: leave one out")
            if known is not None and each not in known():
                raise ValueError(f"has {each!r}, which is not known: {suggestion(each, known())}")
            if not _NAME.fullmatch(each):
                raise ValueError(f"has {each!r}: a name has up to 64 letters, digits, '-', '_' or '.'")

    return Kind(shown, convert, check, lambda value: json.dumps(list(value)))


def suggestion(word: str, known: Sequence[str]) -> str:
    """A hint: the name that may have been meant, or all names there are."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def shown(value: object) -> str:
    """A value in one line of bounded length, for an error message."""
    try:
        written = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        written = str(value)
    if not written.isprintable():
        written = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in written)
    return written if len(written) <= 60 else f"{written[:59]}…"


def _shown_s(seconds: float) -> str:
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds == 0:
        return "0s"
    milliseconds = seconds * 1000
    if abs(milliseconds - round(milliseconds)) > 1e-9:
        return f"{sign}{milliseconds:g}ms"
    return f"{sign}{format_duration(seconds)}"


def _written_pair(value: tuple[float, float]) -> str:
    low_s, high_s = value
    return _shown_s(low_s) if low_s == high_s else f"[{_shown_s(low_s)}, {_shown_s(high_s)}]"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_number(value: object, problem: str) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(problem) from None
    if not _is_number(value):
        raise ValueError(problem)
    assert isinstance(value, int | float)
    return float(value)


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text: put it in quotes")
    return value


def _to_seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError(_HOW_TO_WRITE_A_DURATION)
    try:
        return parse_duration_s(value)
    except ValueError:
        raise ValueError(_HOW_TO_WRITE_A_DURATION) from None


def _to_pair(value: Sequence[object]) -> tuple[float, float]:
    if len(value) != 2:
        raise ValueError(f"has {len(value)} parts: give two durations, as in ['10s', '1m']")
    return _to_seconds(value[0]), _to_seconds(value[1])


def _in_range(least: float, most: float, shown: Callable[[Any], str]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not (_is_number(value) and least <= value <= most):  # as NaN is not, either
            raise ValueError(f"is out of range: give {shown(least)} to {shown(most)}")

    return check


def _pair_in_range(most_s: float) -> Callable[[Any], None]:
    each_in_range = _in_range(0.0, most_s, _shown_s)

    def check(value: Any) -> None:
        for seconds in value:
            each_in_range(seconds)
        if value[0] > value[1]:
            raise ValueError(f"ends before it begins: write [{_shown_s(value[1])!r}, {_shown_s(value[0])!r}]")

    return check
