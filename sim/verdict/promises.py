"""The promises of the control plane and its workers, by number and name.

H is the heartbeat interval, D the heartbeat timeout, d the largest delay of a message.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """One promise; each exists once. Violations and checks name it by its `str`."""

    number: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.number} {self.name}"


NO_EARLY_VERDICT = Promise(
    1,
    "no-early-verdict",
    "A worker is declared UNHEALTHY only if the control plane accepted no heartbeat of its present "
    "incarnation for D on its own clock, and after its start not before its grace is used up.",
)
VERDICT_ON_TIME = Promise(
    2,
    "verdict-on-time",
    "And then at that moment, not later than one scheduling step: nobody sees it HEALTHY.",
)
OLD_INCARNATIONS_FENCED = Promise(
    3,
    "old-incarnations-fenced",
    "One incarnation of an id at most is live, incarnations rise, and messages of older ones change nothing; "
    "also when the control plane's disk was wiped, unless its wall clock was set back, too.",
)
IDS_UNIQUE = Promise(4, "ids-unique", "No two live workers share an id.")
REGISTRATIONS_DURABLE = Promise(
    5,
    "registrations-durable",
    "A registration that was acknowledged is there after any crash, unless it left, was forgotten, or the "
    "disk was wiped.",
)
COUNTS_ADD_UP = Promise(
    6, "counts-add-up", "healthy + unhealthy + draining = registered, after every event, each being right."
)
ONLY_HEALTHY_OFFERED = Promise(
    7,
    "only-healthy-offered",
    "No worker is offered for scheduling that is unhealthy, cordoned or draining.",
)
DELIVERY_IDEMPOTENT = Promise(
    8,
    "delivery-idempotent",
    "Duplicated or reordered delivery ends in the state of once-only delivery in order.",
)
VIEWS_AGREE = Promise(9, "views-agree", "REST, gRPC and metrics say the same.")
CRASHED_DETECTED = Promise(
    10,
    "crashed-detected",
    "After the last heal a crashed worker is UNHEALTHY within D + d of its last heartbeat.",
)
LIVE_RECOVERED = Promise(
    11,
    "live-recovered",
    "After the last heal every live, connected worker is HEALTHY within one interval and the largest "
    "backoff, under its own id.",
)
VIEW_IS_TRUTH = Promise(12, "view-is-truth", "After the last heal the control plane's view equals the truth.")
HERD_BOUNDED = Promise(
    13,
    "herd-bounded",
    "After a mass reconnect no healthy worker is expired, and attempts stay bounded, each worker's and all "
    "together.",
)
NOTHING_STUCK = Promise(
    14, "nothing-stuck", "No deadlock, no livelock, nothing fails by itself, nothing is left in a queue."
)
CORDON_LASTS = Promise(
    15,
    "cordon-lasts",
    "A cordon lasts until an operator lifts it, whatever leaves, dies, is forgotten, restarts or takes over "
    "meanwhile; a drain that has ended leaves a cordon behind it.",
)
IDENTITY_RETURNS = Promise(
    16,
    "identity-returns",
    "An installation that departed gets its id back within the retention, unless another asked for that id.",
)
ENDPOINT_PROVED = Promise(
    17,
    "endpoint-proved",
    "A worker is listed at the endpoint that it registered from last, and after the last heal at the one "
    "where it can be reached.",
)
STALLS_COMPENSATED = Promise(
    18,
    "stalls-compensated",
    "No worker expires because the control plane stalled: every deadline moves by the length of the stall.",
)
LEAVING_NOT_OFFERED = Promise(
    19,
    "leaving-not-offered",
    "A worker that has announced that it is shutting down is not offered for scheduling.",
)

PROMISES = (
    NO_EARLY_VERDICT,
    VERDICT_ON_TIME,
    OLD_INCARNATIONS_FENCED,
    IDS_UNIQUE,
    REGISTRATIONS_DURABLE,
    COUNTS_ADD_UP,
    ONLY_HEALTHY_OFFERED,
    DELIVERY_IDEMPOTENT,
    VIEWS_AGREE,
    CRASHED_DETECTED,
    LIVE_RECOVERED,
    VIEW_IS_TRUTH,
    HERD_BOUNDED,
    NOTHING_STUCK,
    CORDON_LASTS,
    IDENTITY_RETURNS,
    ENDPOINT_PROVED,
    STALLS_COMPENSATED,
    LEAVING_NOT_OFFERED,
)
