"""Who a worker is in its cluster, and how patient. Every knob with its formula and its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.net.backoff import Backoff

# What a control plane may tell. Below, a worker would do little but report; above, every timeout in use
# would take it for dead. A told interval outside is taken as the nearer bound.
MIN_INTERVAL_S = 0.1
MAX_INTERVAL_S = 600.0

DEFAULT_DRAIN_TIMEOUT_S = 25.0


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Who this worker is and how patient."""

    # The id to ask for first; empty leaves it to the control plane. From then on the one given is asked for.
    wanted_id: str = ""
    # The installation's lasting identity: by it a restarted worker gets its id back.
    instance_id: str = ""
    # Sent with every registration; "zone" is the failure domain.
    metadata: Mapping[str, str] = field(default_factory=dict)

    # Between heartbeats while the control plane names no interval. Its timeout over this is how many may be
    # lost before it calls the worker unhealthy: 120 s / 30 s = 4. Less finds the dead sooner and costs
    # every party 1 / interval calls a second for each worker.
    heartbeat_interval_s: float = LivenessPolicy().heartbeat_interval_s
    # For one registration or heartbeat. Below the interval, so that a lost call leaves time for another;
    # far above a busy control plane's slowest answer, as a call given up on is work it did for nothing.
    call_timeout_s: float = 10.0
    # Delays between registrations, each U(0, min(max, initial * 2^failures)). 30 s at most is 15 s on
    # average: how long a worker stays away after the control plane is back, against 1/15 call a second.
    backoff: Backoff = field(default_factory=Backoff)
    # Failed registrations in a row, refusals included, after which to give up; None is never.
    exit_after_failures: int | None = None

    # How long queries may go on once the worker was told to stop. Stay below what the supervisor waits
    # before it kills (Kubernetes 30 s, systemd 90 s), less `leave_timeout_s`. An operator's drain has no end.
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    # To say goodbye. A leave that is not heard costs the control plane one heartbeat timeout to notice.
    leave_timeout_s: float = 5.0


def told_interval_s(told_s: float, otherwise_s: float) -> float:
    """The interval to keep where a control plane said `told_s`; `otherwise_s` where it said nothing (0)."""
    return min(max(told_s, MIN_INTERVAL_S), MAX_INTERVAL_S) if told_s > 0 else otherwise_s
