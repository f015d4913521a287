"""This module formats figures and tables for people. It is independent of workers."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from io import TextIOBase
from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36"}
_COLUMNS = 80  # where no terminal has a width
_GAP = 2
# The last column is cut last. It is cut to the first of these before other columns are left out for it, and
# never below the second.
_READABLE_LAST = 24
_LEAST_LAST = 8
_STYLES = {"bold": "1", "dim": "2", **_COLOURS}


class Paint:
    """A `Paint` colours text for `stream`: only on a terminal with colours, and not under NO_COLOR
    (no-color.org)."""

    def __init__(self, stream: TextIO | TextIOBase) -> None:
        self.on = (
            stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") not in ("", "dumb")
        )

    def __call__(self, text: str, style: str) -> str:
        """Return `text` in `style`: bold, dim or a colour; an empty style is none."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.on and style else text


def columns_of(stream: TextIO) -> int:
    """Return the width of the terminal behind `stream`: COLUMNS if it is set, else the terminal's own, else
    80.

    `shutil.get_terminal_size` asks the terminal behind standard output, whichever stream is written to.
    """
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdecimal() and int(told[:9]) > 0:
        return int(told[:9])
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):  # not a terminal, or not even a file
        return _COLUMNS


def age(milliseconds: float) -> str:
    """Format a duration in its largest useful unit: `12s`, `5m`, `3h`, `4d`. At least two of a unit are
    needed to leave the one below: 90 s are `90s`."""
    seconds = max(0, int(milliseconds / 1000))
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s}{unit}"
    return f"{seconds}s"


def percent(fraction: float) -> str:
    """Format a utilisation, 0.0 to 1.0, in whole percent."""
    return f"{fraction * 100:.0f}%"


def size(mebibytes: float) -> str:
    """Format megabytes (MiB) in the unit that keeps the figure short."""
    for unit in ("M", "G", "T"):
        if mebibytes < 1024 or unit == "T":
            break
        mebibytes /= 1024
    return f"{mebibytes:.0f}{unit}" if unit == "M" or mebibytes >= 100 else f"{mebibytes:.1f}{unit}"


def clean(text: object) -> str:
    """Return `text` fit for a terminal: control codes in text from a worker are shown, not obeyed."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def number(figures: object, name: str) -> float:
    """Return the figure `name` of a JSON object; 0 where it, or the object, is something else."""
    found = figures.get(name) if isinstance(figures, Mapping) else None
    return found if isinstance(found, int | float) else 0


def width(text: str) -> int:
    """Return the columns that printable `text` takes: two for a wide character, none for one that
    combines."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Fill `text` with spaces up to so many columns; `right` puts them in front."""
    fill = " " * (columns - width(text))
    return fill + text if right else text + fill


def cut(text: str, columns: int) -> str:
    """Shorten `text` to so many columns if it is longer; its last column then shows that."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for char in text:
        used += _char_width(char)
        if used > columns:
            break
        kept.append(char)
    return "".join(kept) + "…"


_DIGITS = re.compile(r"([0-9]+)")


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a sort key by which `worker-2` comes before `worker-10`."""
    return [
        (len(part.lstrip("0")) + 1 if part.isdigit() else 0, part.lstrip("0") if part.isdigit() else part)
        for part in _DIGITS.split(text)
    ] + [(0, text)]


def without_credentials(text: str) -> str:
    """Return a URL as typed, with or without its scheme, without any part that may be its user and
    password."""
    shown = re.sub(r"(://).*@", r"\1", text, flags=re.DOTALL)
    return shown if "://" in shown else re.sub(r"^.*@", "", shown, flags=re.DOTALL)


def one_line(text: object) -> str:
    """Return `text` fit to be a message: one line, no control codes, no credentials of a URL."""
    line = clean(" ".join(str(text).split()))
    return re.sub(r"(://)\S*@", r"\1", line)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    paint: Paint,
    *,
    right: Sequence[str] = (),
    styles: Sequence[Sequence[str]] = (),
    columns: int | None = None,
    dispensable: Sequence[str] = (),
) -> list[str]:
    """Return lines of aligned columns; columns whose heading is in `right` are aligned right.

    `styles` has a style (or "") for each cell. Columns that are empty in every row are left out. With
    `columns`, those of `dispensable` are left out one after the other until a line fits; then the last column
    is cut so that it does.
    """
    kept = [index for index in range(len(headings)) if any(row[index] for row in rows)]
    widths = {index: max(width(row[index]) for row in [headings, *rows]) for index in kept}
    if columns is not None:
        kept = _fitting(headings, kept, widths, columns, dispensable)
    lines = []
    for number, row in enumerate([headings, *rows]):
        cells: list[str] = []
        used = 0
        for index in kept:
            text = row[index]
            if index == kept[-1] and columns is not None:
                text = cut(text, max(_LEAST_LAST, columns - used))
            if headings[index] in right:
                text = pad(text, widths[index], right=True)
            elif index != kept[-1]:
                text = pad(text, widths[index])
            used += width(text) + _GAP
            style = "dim" if number == 0 else styles[number - 1][index] if styles else ""
            cells.append(paint(text, style))
        lines.append((" " * _GAP).join(cells).rstrip())
    return lines


def _fitting(
    headings: Sequence[str],
    kept: Sequence[int],
    widths: Mapping[int, int],
    columns: int,
    dispensable: Sequence[str],
) -> list[int]:
    """Return the columns that stay, so that a line with a readable part of the last one fits."""
    left = list(kept)
    for heading in dispensable:
        last = min(widths[left[-1]], _READABLE_LAST)
        if sum(widths[index] + _GAP for index in left[:-1]) + last <= columns:
            break
        left = [index for index in left if headings[index] != heading]
    return left


def fields(pairs: Sequence[tuple[str, str]], paint: Paint) -> list[str]:
    """Return lines of `name value`, aligned; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    columns = max((width(name) for name, _ in shown), default=0)
    return [f"{paint(pad(name, columns), 'dim')}  {value}" for name, value in shown]
