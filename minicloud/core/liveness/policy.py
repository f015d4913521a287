"""This module has the figures of failure detection, each with its trade-off and its source (DESIGN 83)."""

from __future__ import annotations

from dataclasses import dataclass

# A sweep that is late by no more than this is late by scheduling. A later one ends a stall (DESIGN 61).
STALL_S = 1.0

# The loop looks at the clock this often a timeout while a worker has a lease: every 5 s at a timeout of two
# minutes. The first look after a stall notices it, which costs at most one look of detection time.
LOOKS_PER_TIMEOUT = 24

# A run counts at least this long, so that quick restarts use up the grace of a dead worker.
FIRST_MARK_S = 1.0

# A run that is killed loses at most the timeout divided by this.
MARKS_PER_TIMEOUT = 8

# This many departed workers take some 10 MB with the metadata that workers usually send.
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """A `LivenessPolicy` has the figures that users set, in seconds.

    `heartbeat_interval_s` is the interval that workers have to keep. A worker that is silent for
    `heartbeat_timeout_s` is UNHEALTHY: four intervals, so that three lost heartbeats change no status. A
    worker that stays UNHEALTHY for `retention_s` is forgotten, and a departed one is remembered for as long:
    a day, so that a machine that is repaired gets its id back.
    """

    heartbeat_interval_s: float = 30.0
    heartbeat_timeout_s: float = 120.0
    retention_s: float = 24 * 3600.0

    @property
    def look_s(self) -> float:
        """Return the longest sleep of the sweeper while a worker has a lease."""
        return self.heartbeat_timeout_s / LOOKS_PER_TIMEOUT

    def grace_s(self, told_interval_s: float) -> float:
        """Return the time that a worker has for its first heartbeat after a start (DESIGN 62).

        `told_interval_s` is the interval of the run before, 0 if there was none. Workers keep the interval of
        the last answer they got. (Nomad too allows more time after a failover: failover_heartbeat_ttl.)
        """
        return max(self.heartbeat_timeout_s, 2 * told_interval_s)
