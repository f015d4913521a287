"""The last line of a terminal, redrawn while something runs."""

from __future__ import annotations

import os
from typing import TextIO

from minicloud.cli.text import columns_of

_BARS = (("█", "░"), ("#", "."))  # the second where the first cannot be shown
_BAR = 20


class StatusLine:
    """One line on `stream`. `possible` is false where that is no terminal, or one that cannot be drawn on.

    Always holds: the line is shorter than the terminal is wide, also where characters become escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.possible = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._drawn = False

    def bar(self, share: float) -> str:
        """A bar of which `share` is filled."""
        full, empty = next((bar for bar in _BARS if self._escaped(bar[0]) == bar[0]), _BARS[-1])
        filled = int(share * _BAR)
        return full * filled + empty * (_BAR - filled)

    def draw(self, text: str) -> None:
        """Show `text` in place of what the line had."""
        # One column short of the edge: a line that fills its row wraps, and cannot be drawn over.
        line = self._escaped(text)[: max(0, columns_of(self._stream) - 1)]
        self._drawn = True  # before it is: a signal may come in between
        self._stream.write(f"\r{line}\x1b[K")
        self._stream.flush()

    def wipe(self) -> None:
        """Leave the terminal as if nothing had been there."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def _escaped(self, text: str) -> str:
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)
