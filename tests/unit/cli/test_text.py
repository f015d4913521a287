from __future__ import annotations

import fcntl
import io
import os
import struct
import termios

import pytest

from minicloud.cli.text import (
    Paint,
    age,
    clean,
    columns_of,
    cut,
    fields,
    natural_key,
    number,
    one_line,
    pad,
    percent,
    size,
    table,
    width,
    without_credentials,
)


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


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("é", 1), ("e\u0301", 1), ("区域", 4), ("ｗ", 2), ("\U0001f525!", 3), ("ｶﾅ", 2), ("", 0)],
)
def test_width_counts_the_columns_of_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns
    assert width(pad(text, 6)) == width(pad(text, 6, right=True)) == 6


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("区域区域", 8, "区域区域"),
        ("区域区域", 7, "区域区…"),
        ("区域区域", 6, "区域…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
    ],
)
def test_text_too_long_is_cut_to_its_columns(text: str, columns: int, shown: str) -> None:
    assert cut(text, columns) == shown
    assert width(shown) <= columns


def test_ids_sort_as_people_count() -> None:
    ids = ["w-10", "w-2", "w-1", "w", "w-2-b10", "w-2-b9", "10", "9", "w-02", "x", "a1", "W-3", ""]
    assert sorted(ids, key=natural_key) == [
        *("", "9", "10", "W-3", "a1", "w", "w-1", "w-02", "w-2", "w-2-b9", "w-2-b10", "w-10", "x"),
    ]


@pytest.mark.parametrize("text", ["http://u:p@h/x", "u:p@h/x", "http://u:p@ss/w o@h/x", "http://h/x", "h/x"])
def test_url_is_shown_without_what_may_be_secret(text: str) -> None:
    assert without_credentials(text) in ("http://h/x", "h/x")


def test_message_is_one_line_without_control_codes_and_credentials() -> None:
    assert one_line("a\n b\x1b[2J http://u:p@h:1/x, ftp://u@h\u2028") == "a b\\x1b[2J http://h:1/x, ftp://h"


@pytest.mark.parametrize(
    ("figures", "found"),
    [({"a": 1}, 1), ({"a": 0.5}, 0.5), ({"a": None}, 0), ({"a": "1"}, 0), ({}, 0), (None, 0), ([], 0)],
)
def test_number_of_an_answer_is_0_where_there_is_none(figures: object, found: float) -> None:
    assert number(figures, "a") == found


def test_table_too_wide_drops_what_is_dispensable_before_it_cuts() -> None:
    headings, rows = ("ID", "A", "B", "WHY"), [("w-1", "a" * 10, "b" * 10, "y" * 40)]

    def shown(columns: int) -> list[str]:
        lines = table(headings, rows, PLAIN, columns=columns, dispensable=("B", "A"))
        assert max(width(line) for line in lines) <= columns
        return lines[0].split()

    assert shown(100) == ["ID", "A", "B", "WHY"]
    assert shown(60) == ["ID", "A", "B", "WHY"]  # enough of the last column can be read
    assert shown(50) == ["ID", "A", "WHY"]
    assert shown(40) == ["ID", "WHY"]
    assert shown(20) == ["ID", "WHY"]


def test_table_of_wide_characters_lines_up() -> None:
    rows = [("区域", "1", "x"), ("e\u0301u", "22", "y")]
    assert table(("ZONE", "N", "LAST"), rows, PLAIN, right=("N",)) == [
        "ZONE   N  LAST",
        "区域   1  x",
        "e\u0301u    22  y",
    ]


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
