"""The figures of failure detection, each with its trade-off and its source. No other module has defaults."""

from __future__ import annotations

from dataclasses import dataclass

# A sweep that is late by no more than this is late by scheduling. Anything later is a stall: the loop was
# blocked, the process stopped or the machine suspended. (Eureka compensates its evictions for a late task.)
STALL_S = 1.0

# How often the loop looks at the clock while a worker has a lease: every 5 s where the timeout is 2 minutes.
# A stall is noticed by the first look after it, and costs at most one look of detection time.
LOOKS_PER_TIMEOUT = 24

# How long a run of the control plane counts from its start on. A run that ends sooner counts as much, so that
# starts in a quick row use up the grace of a dead worker.
FIRST_MARK_S = 1.0

# How much of a run that is killed stays uncounted at most, as a part of the timeout.
MARKS_PER_TIMEOUT = 8

# Departed workers that are remembered: some 10 MB with the metadata that workers usually send.
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """The figures that users set, in seconds.

    `heartbeat_interval_s` is the interval that workers have to keep. A worker that is silent for
    `heartbeat_timeout_s` is UNHEALTHY: four intervals, so that three lost heartbeats cost no verdict. A
    worker that stays UNHEALTHY for `retention_s` is forgotten, and a departed one is remembered for as long:
    a day, so that a machine that is repaired gets its id back.
    """

    heartbeat_interval_s: float = 30.0
    heartbeat_timeout_s: float = 120.0
    retention_s: float = 24 * 3600.0

    @property
    def look_s(self) -> float:
        """The longest sleep of the sweeper while a worker has a lease."""
        return self.heartbeat_timeout_s / LOOKS_PER_TIMEOUT

    def grace_s(self, told_interval_s: float) -> float:
        """The time a worker gets to be heard after a start; `told_interval_s` is the interval of the run
        before, 0 where there was none.

        Workers keep the interval of the last answer they got. A start with shorter timers waits for them.
        (Nomad grants a longer time to live after a failover, too: failover_heartbeat_ttl.)
        """
        return max(self.heartbeat_timeout_s, 2 * told_interval_s)
