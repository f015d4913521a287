"""The timeouts of one connection: which is due, and when the next may be. Pure: the time is passed in.

Always holds: whatever happens between two polls, nothing falls due before the instant that the first one
returned (test_busy_connection_is_asked_again_before_it_could_be_idle). So one sleeping task a connection is
enough, and no call has to wake it.
"""

from __future__ import annotations

import enum

from minicloud.http2.config import Timeouts


class Due(enum.Enum):
    """The action that is due on a connection, with the reason as the log shows it."""

    NOTHING = "nothing yet"
    PING = "ping: nothing heard from the peer for a while"
    NO_HANDSHAKE = "no HTTP/2 preface and settings in time"
    NO_ANSWER = "no answer to a keepalive ping"
    IDLE = "no calls for the longest idle time"
    AGED = "connection has reached its maximum age"
    GRACE_OVER = "calls did not finish within the grace period"


class ConnectionTimers:
    """The timers of one connection. Times are monotonic seconds."""

    __slots__ = (
        "_asked_s",
        "_heard_s",
        "_opened_s",
        "_pinged_s",
        "_timeouts",
        "grace_ends_s",
        "idle_since_s",
        "ready",
    )

    def __init__(self, timeouts: Timeouts, now_s: float) -> None:
        self._timeouts = timeouts
        self._opened_s = now_s
        self._heard_s = now_s
        self._pinged_s: float | None = None
        self._asked_s: float | None = None
        self.ready = False  # the peer has shown that it speaks HTTP/2
        self.idle_since_s: float | None = now_s  # None while there are calls
        self.grace_ends_s: float | None = None  # set once the connection is to end

    def heard(self, now_s: float) -> None:
        """Note that a whole frame has come. A peer that drips single bytes does not count as alive."""
        self._heard_s = now_s
        self._pinged_s = None
        self._asked_s = None

    def asked(self, now_s: float) -> None:
        """Note that a request has been sent."""
        if self._asked_s is None:
            self._asked_s = now_s

    def pinged(self, now_s: float) -> None:
        """Note that a keepalive ping has been sent."""
        self._pinged_s = now_s

    def poll(self, now_s: float) -> tuple[Due, float]:
        """The action that is due at `now_s`, and the time of the next poll."""
        at_s, due = self._next(now_s)
        if at_s <= now_s:
            return due, now_s
        return Due.NOTHING, at_s

    def _next(self, now_s: float) -> tuple[float, Due]:
        timeouts = self._timeouts
        if self._pinged_s is None:
            found = (self._silent_since_s(now_s) + timeouts.keepalive_s, Due.PING)
        else:
            found = (self._pinged_s + timeouts.keepalive_timeout_s, Due.NO_ANSWER)
        if not self.ready:
            found = _earlier(found, (self._opened_s + timeouts.handshake_s, Due.NO_HANDSHAKE))
        if self.grace_ends_s is not None:
            return _earlier(found, (self.grace_ends_s, Due.GRACE_OVER))
        # While there are calls, idleness may begin at any moment: a poll after the whole idle time cannot
        # miss it.
        idle_since_s = now_s if self.idle_since_s is None else self.idle_since_s
        found = _earlier(found, (idle_since_s + timeouts.max_idle_s, Due.IDLE))
        return _earlier(found, (self._opened_s + timeouts.max_age_s, Due.AGED))

    def _silent_since_s(self, now_s: float) -> float:
        if self._timeouts.keepalive_without_calls:
            return self._heard_s
        if self._asked_s is not None:
            return self._asked_s
        # With no call open, one may be opened at any moment: a poll after the whole time cannot miss it.
        return self._heard_s if self.idle_since_s is None else now_s


def _earlier(one: tuple[float, Due], other: tuple[float, Due]) -> tuple[float, Due]:
    return other if other[0] < one[0] else one
