"""This module keeps whether the control plane answers, and since when it does not. Time is passed in.

With it an outage of hours takes two lines in the log, one at its beginning and one at its end.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage is a stretch of time without an answer; `failures` calls failed in it."""

    since_s: float
    failures: int = 1


class Contact:
    """This is the contact with the control plane. It begins as if calls were answered, so the first failure
    is an outage."""

    def __init__(self) -> None:
        self._outage: Outage | None = None

    @property
    def outage(self) -> Outage | None:
        """Return the present outage; None while calls are answered."""
        return self._outage

    def lost(self, now_s: float) -> bool:
        """Note a call without an answer. Return True for the first of an outage."""
        before = self._outage
        self._outage = Outage(now_s) if before is None else Outage(before.since_s, before.failures + 1)
        return before is None

    def answered(self) -> Outage | None:
        """Note an answer, also a refusal. Return the outage that it ends, if there was one."""
        ended, self._outage = self._outage, None
        return ended
