"""Whether the control plane answers, and since when it does not. Pure: time is passed in.

Exists so that an outage of hours is told in two lines, its beginning and its end.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch of time without an answer; `failures` calls failed in it."""

    since_s: float
    failures: int = 1


class Contact:
    """Contact with the control plane. Made as if there were some: the first failure is news."""

    def __init__(self) -> None:
        self._outage: Outage | None = None

    @property
    def outage(self) -> Outage | None:
        """The present outage, None while calls are answered."""
        return self._outage

    def lost(self, now_s: float) -> bool:
        """Note a call without an answer. True for the first of an outage."""
        before = self._outage
        self._outage = Outage(now_s) if before is None else Outage(before.since_s, before.failures + 1)
        return before is None

    def answered(self) -> Outage | None:
        """Note an answer, whatever it says; the outage it ends, if there was one."""
        ended, self._outage = self._outage, None
        return ended
