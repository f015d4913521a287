"""This module has the settings of an agent, each with its formula and its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.net.backoff import Backoff

# The bounds of the interval that a control plane may set. Below, a worker would do little but send
# heartbeats; above, every timeout in use would end its lease. Other intervals are taken as the nearer bound.
MIN_INTERVAL_S = 0.1
MAX_INTERVAL_S = 600.0

DEFAULT_DRAIN_TIMEOUT_S = 25.0


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """These are the identity of a worker, and its intervals and timeouts."""

    # The id to ask for first; empty for any. Later registrations ask for the id that was given.
    wanted_id: str = ""
    # The installation's lasting identity, by which a restarted worker gets its id back (DESIGN 12).
    instance_id: str = ""
    # The metadata of every registration; "zone" is the failure domain.
    metadata: Mapping[str, str] = field(default_factory=dict)

    # The time between heartbeats while the control plane sets no interval. The timeout over this is the
    # number of heartbeats that may be lost before the worker is UNHEALTHY: 120 s / 30 s = 4. A shorter
    # interval finds dead workers sooner, and costs both ends 1 / interval calls a second for each worker.
    heartbeat_interval_s: float = LivenessPolicy().heartbeat_interval_s
    # The time for one registration or heartbeat. It is below the interval, so that a lost call leaves time
    # for another, and far above a busy control plane's slowest answer, as a call given up is work wasted.
    call_timeout_s: float = 10.0
    # The delays between registrations, each U(0, min(max, initial * 2^failures)). At most 30 s is 15 s on
    # average: the time until a worker is back after an outage, against 1/15 call a second during it.
    backoff: Backoff = field(default_factory=Backoff)
    # The number of failed registrations in a row, refusals included, after which to give up; None: never.
    exit_after_failures: int | None = None

    # The time for queries to finish after a stop. With `leave_timeout_s` it stays below the time after which
    # a supervisor kills (Kubernetes 30 s, systemd 90 s). An operator's drain has no limit.
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    # The time for the deregistration. Where that is lost, the worker stays listed for a heartbeat timeout.
    leave_timeout_s: float = 5.0


def told_interval_s(told_s: float, otherwise_s: float) -> float:
    """Return `told_s`, the control plane's interval, within its bounds; `otherwise_s` where it is 0."""
    return min(max(told_s, MIN_INTERVAL_S), MAX_INTERVAL_S) if told_s > 0 else otherwise_s
