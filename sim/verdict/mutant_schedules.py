"""Small runs, of a minute or two with quick timers, in each of which some of the mutants show."""

from __future__ import annotations

from dataclasses import replace

from minicloud.core.liveness.policy import LivenessPolicy
from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.faults.schedule import Fault, Phases, Schedule

_TIMERS = LivenessPolicy(heartbeat_interval_s=5.0, heartbeat_timeout_s=15.0, retention_s=60.0)
_TOPOLOGY = Topology(workers=12, ramp_s=2.0, timers=_TIMERS)
# After the last fault: what a cluster with these timers needs to recover (47 s), and a look at it then.
_CHECK_S = 70.0


def _schedule(
    name: str, seed: int, chaos_s: float, *faults: Fault, topology: Topology = _TOPOLOGY
) -> Schedule:
    return Schedule(name, seed, topology, Phases(10.0, chaos_s, _CHECK_S), faults)


def crashes(seed: int) -> Schedule:
    """Workers lose power; some come back, one never does."""
    return _schedule(
        "crashes",
        seed,
        50.0,
        Fault("crash", 12.0, ("worker-2", "worker-3"), 45.0),
        Fault("crash", 20.0, ("worker-4",), 0.0, {"restart": "never"}),
    )


def silences(seed: int) -> Schedule:
    """Workers cannot reach the control plane for longer than the timeout."""
    return _schedule("silences", seed, 40.0, Fault("partition", 12.0, ("worker-2", "worker-3"), 35.0))


def restart(seed: int) -> Schedule:
    """The control plane loses power, and starts again from its disk."""
    return _schedule("restart", seed, 20.0, Fault("crash", 25.0, (CONTROL_PLANE,), 3.0))


def outage(seed: int) -> Schedule:
    """There is no control plane for longer than the timeout."""
    return _schedule("outage", seed, 40.0, Fault("crash", 15.0, (CONTROL_PLANE,), 25.0))


def registry_lost(seed: int) -> Schedule:
    """The control plane's disk comes back empty."""
    return _schedule("registry-lost", seed, 20.0, Fault("wipe", 15.0, (CONTROL_PLANE,), 3.0))


def registry_lost_and_id_given(seed: int) -> Schedule:
    """The control plane's disk comes back empty, and while a worker is cut off another installation gets
    its id."""
    return _schedule(
        "registry-lost-and-id-given",
        seed,
        60.0,
        Fault("partition", 12.0, ("worker-2",), 50.0),
        Fault("wipe", 15.0, (CONTROL_PLANE,), 3.0),
        Fault("duplicate-id", 30.0, ("worker-7",), 0.0, {"of": "worker-2"}),
    )


def registry_restored_and_id_given(seed: int) -> Schedule:
    """A silent worker's id goes to another installation; the disk is restored from a backup made before
    that, and the id is given once more, to a third."""
    return _schedule(
        "registry-restored-and-id-given",
        seed,
        100.0,
        Fault("stale-disk", 11.0, (CONTROL_PLANE,), 34.0),
        Fault("partition", 12.0, ("worker-2",), 90.0),
        Fault("duplicate-id", 30.0, ("worker-7",), 0.0, {"of": "worker-2"}),
        Fault("partition", 40.0, ("worker-7",), 50.0),
        Fault("duplicate-id", 70.0, ("worker-8",), 0.0, {"of": "worker-2"}),
    )


def power_loss_while_registering(seed: int) -> Schedule:
    """The control plane loses power in the milliseconds in which every worker registers."""
    topology = replace(_TOPOLOGY, workers=40, ramp_s=0.0)
    losses = tuple(Fault("crash", 0.002 * number, (CONTROL_PLANE,), 0.001) for number in range(1, 6))
    return _schedule("power-loss-while-registering", seed, 10.0, *losses, topology=topology)


def cold_start(seed: int) -> Schedule:
    """Every worker starts at the same moment, and there is no control plane for a minute."""
    topology = replace(_TOPOLOGY, workers=48, ramp_s=0.0)
    return _schedule("cold-start", seed, 60.0, Fault("crash", 0.0, (CONTROL_PLANE,), 60.0), topology=topology)


def wall_clock_set(seed: int) -> Schedule:
    """The control plane's wall clock is set forward."""
    return _schedule(
        "wall-clock-set", seed, 20.0, Fault("clock-step", 12.0, (CONTROL_PLANE,), 10.0, {"by_s": 3600.0})
    )


def takeover(seed: int) -> Schedule:
    """A silent worker's id goes to another installation; then the first one is back."""
    return _schedule(
        "takeover",
        seed,
        60.0,
        Fault("partition", 12.0, ("worker-2",), 50.0),
        Fault("duplicate-id", 40.0, ("worker-7",), 0.0, {"of": "worker-2"}),
    )


def newcomers(seed: int) -> Schedule:
    """Some workers want the ids of others."""
    return _schedule("newcomers", seed, 10.0, topology=replace(_TOPOLOGY, duplicates=4))


def operators(seed: int) -> Schedule:
    """Workers are cordoned and drained."""
    return _schedule(
        "operators",
        seed,
        40.0,
        Fault("cordon", 12.0, ("worker-2",), 30.0),
        Fault("drain", 15.0, ("worker-3",), 30.0),
    )


def departures(seed: int) -> Schedule:
    """Workers that operators have taken out stop, and start again; so does one that nobody has taken out."""
    return _schedule(
        "departures",
        seed,
        80.0,
        Fault("cordon", 12.0, ("worker-2",), 60.0),
        Fault("stop", 20.0, ("worker-2", "worker-3", "worker-4"), 15.0, {"busy_s": 6.0}),
        Fault("crash", 45.0, (CONTROL_PLANE,), 3.0),
        Fault("stop", 52.0, ("worker-2", "worker-3"), 10.0),
    )


def moves(seed: int) -> Schedule:
    """Some workers get another address."""
    return _schedule("moves", seed, 30.0, Fault("move", 15.0, ("worker-2", "worker-3"), 0.0))


def stall(seed: int) -> Schedule:
    """The control plane stands still for longer than the timeout."""
    return _schedule("stall", seed, 40.0, Fault("pause", 15.0, (CONTROL_PLANE,), 25.0))


def doubled_messages(seed: int) -> Schedule:
    """Messages come twice, and in another order."""
    everybody = tuple(_TOPOLOGY.worker_names)
    return _schedule(
        "doubled-messages",
        seed,
        40.0,
        Fault("duplication", 12.0, everybody, 30.0, {"probability": 0.5}),
        Fault("reordering", 12.0, everybody, 30.0, {"probability": 0.5}),
    )
