"""Figures and tables as people read them. Knows nothing of workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36"}
_COLUMNS = 80  # where nobody knows better
_STYLES = {"bold": "1", "dim": "2", **_COLOURS}


class Paint:
    """Colours for `stream`: only on a terminal that knows them, and not under NO_COLOR (no-color.org)."""

    def __init__(self, stream: TextIO) -> None:
        self.on = (
            stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") not in ("", "dumb")
        )

    def __call__(self, text: str, style: str) -> str:
        """`text` in `style`: bold, dim or a colour; empty for none."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.on and style else text


def columns_of(stream: TextIO) -> int:
    """The width of the terminal behind `stream`: COLUMNS if it is set, else what the terminal has, else 80.

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
    """A duration in its largest telling unit: `12s`, `5m`, `3h`, `4d`. Two of a unit are needed to leave
    the one below: 90 s are `90s`."""
    seconds = max(0, int(milliseconds / 1000))
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size_s:
            return f"{seconds // size_s}{unit}"
    return f"{seconds}s"


def percent(fraction: float) -> str:
    """A utilisation, 0.0 to 1.0, in whole percent."""
    return f"{fraction * 100:.0f}%"


def size(mebibytes: float) -> str:
    """Megabytes as MiniCloud counts them (MiB), in the unit that keeps the figure short."""
    for unit in ("M", "G", "T"):
        if mebibytes < 1024 or unit == "T":
            break
        mebibytes /= 1024
    return f"{mebibytes:.0f}{unit}" if unit == "M" or mebibytes >= 100 else f"{mebibytes:.1f}{unit}"


def clean(text: object) -> str:
    """`text` fit for a terminal: control codes in what a worker said of itself are shown, not obeyed."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    paint: Paint,
    *,
    right: Sequence[str] = (),
    styles: Sequence[Sequence[str]] = (),
    columns: int | None = None,
) -> list[str]:
    """Lines of aligned columns; those headed by one of `right` are aligned right.

    `styles` has a style (or "") for each cell. Columns that are empty in every row are left out. With
    `columns`, the last column is cut so that no line is longer.
    """
    kept = [index for index in range(len(headings)) if any(row[index] for row in rows)]
    widths = {index: max(len(headings[index]), *(len(row[index]) for row in rows)) for index in kept}
    lines = []
    for number, row in enumerate([headings, *rows]):
        cells: list[str] = []
        used = 0
        for index in kept:
            text = row[index]
            if index == kept[-1] and columns is not None:
                text = _cut(text, max(8, columns - used))
            elif headings[index] in right:
                text = text.rjust(widths[index])
            elif index != kept[-1]:
                text = text.ljust(widths[index])
            used += len(text) + 2
            style = "dim" if number == 0 else styles[number - 1][index] if styles else ""
            cells.append(paint(text, style))
        lines.append("  ".join(cells).rstrip())
    return lines


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def fields(pairs: Sequence[tuple[str, str]], paint: Paint) -> list[str]:
    """Lines of `name  value`, aligned; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{paint(name.ljust(width), 'dim')}  {value}" for name, value in shown]
