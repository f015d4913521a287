"""The lines on which a TOML document has its keys and tables, which tomllib does not report.

A statement (a key with its value, or the head of a table) is the fewest lines that tomllib reads as a
document, so there is no second reader of TOML here (DESIGN 58).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

_AT_LINE = re.compile(r" ?\(at (?:line (\d+), column \d+|end of document)\)$")
_MOST_LINES = 500  # of one statement: each line more is read with all before it


class Lines:
    """The lines of the keys of `text`, which has to be valid TOML. `source` is the file's name."""

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self._lines: dict[Path, int] = {}
        heads: dict[Path, int] = {}  # how many tables each array of tables has so far
        table: Path = ()
        for number, statement in _statements(text):
            try:
                document = tomllib.loads(statement)
            except ValueError:
                break  # too long to be followed: what comes later goes by the line of what it is in
            if statement.lstrip().startswith("["):
                table = self._table(document, heads)
                self._lines[table] = number
            else:
                for path in _paths(document):
                    self._lines.setdefault((*table, *path), number)

    def of(self, path: Path) -> int:
        """The line of that key or table; if it has no line of its own, that of the table it is in."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _table(self, document: dict[str, Any], heads: dict[Path, int]) -> Path:
        path: Path = ()
        here: Any = document
        while here:
            ((key, here),) = here.items()
            path = (*path, key)
            if isinstance(here, list):  # the last part of [[a.b]]
                heads[path] = heads.get(path, -1) + 1
                return (*path, heads[path])
            if path in heads:  # [a.b] below [[a]] belongs to the newest a
                path = (*path, heads[path])
        return path


def place_of(error: ValueError, text: str) -> tuple[int, str]:
    """The line and the text of a syntax error in `text`.

    An error at the end of the document is placed where the last statement began.
    """
    found = _AT_LINE.search(str(error))
    if found is not None and found[1]:
        line = int(found[1])
    else:
        line = max((number for number, _ in _statements(text)), default=1)
    return line, _AT_LINE.sub("", str(error))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with the number of its first line. The last one may be unfinished."""
    began, gathered = 1, ""
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not gathered:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            began = number
        gathered += line
        try:
            tomllib.loads(gathered)
        except ValueError:
            if number - began < _MOST_LINES:
                continue  # a value that goes on in the next line
            break
        yield began, gathered
        gathered = ""
    if gathered:
        yield began, gathered


def _paths(document: dict[str, Any], before: Path = ()) -> Iterator[Path]:
    for key, value in document.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from _paths(value, (*before, key))
