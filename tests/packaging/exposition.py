"""This module collects the metrics that a control plane exposes, all of them."""

from __future__ import annotations

from functools import cache
from random import Random

import trio

from minicloud.clock import SystemClock
from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.store.memory import MemoryStore


@cache
def exposed_types() -> dict[str, str]:
    """Return each metric's name, in the form of its series, and its type."""

    async def exposition() -> bytes:
        metrics = Metrics(per_worker=True)
        ControlPlane(LivenessPolicy(), MemoryStore(), metrics, SystemClock(), Random(1))
        return metrics.exposition()[0]

    lines = trio.run(exposition).decode().splitlines()
    return dict(line.split()[2:4] for line in lines if line.startswith("# TYPE "))
