"""The wait before another try follows exponential backoff with full jitter. This module is pure.

Full jitter (any delay from nothing to the ceiling, equally likely) spreads a crowd that failed at the same
moment over the whole interval; half jitter or plus or minus 20% keeps it together in waves. See "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """A `Backoff` draws `delay_s` from 0 to min(max_s, initial_s * factor ** failures)."""

    initial_s: float = 0.5
    max_s: float = 30.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.initial_s <= self.max_s:
            raise ValueError(f"backoff from {self.initial_s} s to {self.max_s} s: want 0 < initial <= max")
        if self.factor < 1:
            raise ValueError(f"backoff factor {self.factor}: want 1 or more")

    def ceiling_s(self, failures: int) -> float:
        """Return the longest delay after `failures` (0 and up) earlier failures in a row."""
        try:
            return min(self.max_s, self.initial_s * self.factor**failures)
        except OverflowError:
            return self.max_s

    def delay_s(self, failures: int, random: Random) -> float:
        """Return a random delay after `failures` (0 and up) earlier failures in a row."""
        return random.uniform(0, self.ceiling_s(failures))
