"""The check that every fault of a schedule can be done to real workers."""

from __future__ import annotations

from minicloud.core.errors import MiniCloudError
from sim.faults.kinds import REAL
from sim.faults.schedule import Schedule


class UnsupportedFaultError(MiniCloudError):
    """A schedule has a fault that cannot be done to a real control plane, or to the network before it."""


def check_supported(schedule: Schedule) -> None:
    """Raise `UnsupportedFaultError` unless every fault can be done."""
    names = frozenset(schedule.topology.worker_names)
    for fault in schedule.faults:
        if fault.kind not in REAL:
            raise UnsupportedFaultError(
                f"{schedule.name}: {fault.kind} cannot be had with --target, where there are "
                f"{', '.join(REAL)} (rolling-restart is crash)"
            )
        others = [name for name in fault.nodes if name not in names]
        if others:
            raise UnsupportedFaultError(
                f"{schedule.name}: {fault.kind} on {others[0]}: with --target faults are on workers only"
            )
