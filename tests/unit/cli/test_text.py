from __future__ import annotations

import fcntl
import io
import os
import struct
import termios

import pytest

from minicloud.cli.text import Paint, age, clean, columns_of, fields, percent, size, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


PLAIN = Paint(io.StringIO())


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-5, "0s"),
        (999, "0s"),
        (12_345, "12s"),
        (119_999, "119s"),
        (120_000, "2m"),
        (7_199_000, "119m"),
        (7_200_000, "2h"),
        (172_800_000, "2d"),
        (9e11, "10416d"),
    ],
)
def test_age_is_shown_in_its_largest_telling_unit(milliseconds: float, text: str) -> None:
    assert age(milliseconds) == text


@pytest.mark.parametrize(
    ("mebibytes", "text"),
    [(0, "0M"), (1023, "1023M"), (1536, "1.5G"), (16000, "15.6G"), (131072, "128G"), (3 * 1024**2, "3.0T")],
)
def test_size_is_shown_in_a_short_unit(mebibytes: float, text: str) -> None:
    assert size(mebibytes) == text


def test_utilisation_is_shown_in_percent() -> None:
    assert (percent(0.0), percent(0.257), percent(1.0)) == ("0%", "26%", "100%")


def test_text_with_control_codes_is_shown_and_not_obeyed() -> None:
    assert clean("a\x1b[2Jb\nc\u202ed é") == "a\\x1b[2Jb\\nc\\u202ed é"


def test_table_columns_line_up_and_empty_ones_go() -> None:
    rows = [("a", "1", "", "x"), ("long", "22", "", "")]
    assert table(("NAME", "N", "GONE", "LAST"), rows, PLAIN, right=("N",)) == [
        "NAME   N  LAST",
        "a      1  x",
        "long  22",
    ]


def test_table_too_wide_is_cut_in_its_last_column() -> None:
    lines = table(("A", "B"), [("x", "y" * 100)], PLAIN, columns=20)
    assert lines[1] == "x  " + "y" * 16 + "…"


def test_table_coloured_lines_up_as_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    (_, line) = table(("A", "B"), [("x", "y")], Paint(Terminal()), styles=[("red", "")])
    assert line == "\x1b[31mx\x1b[0m  y"


@pytest.mark.parametrize(
    ("no_color", "term", "on"),
    [("", "xterm", True), ("1", "xterm", False), ("", "dumb", False), ("", "", False)],
)
def test_paint_on_a_terminal_respects_its_environment(
    monkeypatch: pytest.MonkeyPatch, no_color: str, term: str, on: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)
    assert Paint(Terminal()).on is on
    assert not Paint(io.StringIO()).on


def test_fields_line_up_and_empty_ones_go() -> None:
    assert fields([("a", "1"), ("long", "2"), ("none", "")], PLAIN) == ["a     1", "long  2"]


def test_columns_are_those_of_the_terminal_that_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 61, 0, 0))
    with open(theirs, "w", encoding="utf-8") as stream:
        assert columns_of(stream) == 61
        monkeypatch.setenv("COLUMNS", "200")
        assert columns_of(stream) == 200
        for unusable in ("", "0", "-3", "wide", "²"):
            monkeypatch.setenv("COLUMNS", unusable)
            assert columns_of(stream) == 61
    os.close(ours)


def test_columns_of_what_is_no_terminal_are_80() -> None:
    assert columns_of(io.StringIO()) == 80
    with open(os.devnull, "w", encoding="utf-8") as file:
        assert columns_of(file) == 80
