"""This module reads what the worker has and how much is in use: the machine's figures, or its container's
where tighter.

Always holds: the figures are valid (`core.model.Resources`) and reading never raises; an unreadable figure
keeps its last value, 0 at first. `tests/unit/worker/test_resources.py` keeps these. Readings are quick enough
for the event loop (1 to 2 ms, mainly of /proc and /sys), except for the size of the file system: `statvfs`
blocks while a network file system is away, so `keep_disk_fresh` calls it in a thread.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple, Protocol

import psutil
import structlog
import trio

from minicloud.clock import Clock
from minicloud.core.model import Resources
from minicloud.worker.cgroup import Cgroup

_MIB = 1024 * 1024
_LARGEST_INT32 = 2**31 - 1  # cpu_cores and active_queries on the wire

# In less time the counters, in steps of 10 ms a core, are too coarse, and the figure before is kept.
_MIN_WINDOW_S = 0.5
_DISK_INTERVAL_S = 30.0

log = structlog.get_logger()


class CpuTimes(NamedTuple):
    """These are CPU seconds since the machine started, summed over the CPUs this process may run on."""

    busy_s: float
    total_s: float


class Usage(NamedTuple):
    """This is the usage of memory or of a file system, in bytes."""

    total_bytes: int
    used_bytes: int


class Machine(Protocol):
    """These are the figures of the machine itself, without a container's limits. Every method may raise
    OSError."""

    def cores(self) -> int:
        """Return the number of CPUs this process may run on."""
        ...

    def cpu_times(self) -> CpuTimes: ...

    def memory(self) -> Usage: ...

    def disk(self, path: Path) -> Usage:
        """Return the usage of the file system of `path`, or of the nearest folder above it that exists. This
        may block."""
        ...


class LocalMachine:
    """This is the machine that this process runs on, by psutil."""

    def cores(self) -> int:
        # The kernel keeps the affinity mask within every cpuset (cgroup-v2.rst, "Cpuset"), so the cpuset
        # files add nothing.
        return len(self._cpus()) or os.cpu_count() or 1

    def cpu_times(self) -> CpuTimes:
        each = psutil.cpu_times(percpu=True)
        mine = [each[cpu] for cpu in self._cpus() if cpu < len(each)] or each
        total_s = idle_s = 0.0
        for times in mine:
            fields = times._asdict()
            # By proc(5), user time includes guest time. Waiting for I/O counts as idle.
            total_s += sum(fields.values()) - fields.get("guest", 0.0) - fields.get("guest_nice", 0.0)
            idle_s += fields["idle"] + fields.get("iowait", 0.0)
        return CpuTimes(total_s - idle_s, total_s)

    def memory(self) -> Usage:
        # MemAvailable is the kernel's own estimate of the memory available without swapping.
        memory = psutil.virtual_memory()
        return Usage(memory.total, memory.total - memory.available)

    def disk(self, path: Path) -> Usage:
        path = path.absolute()
        disk = psutil.disk_usage(str(next((p for p in (path, *path.parents) if p.exists()), path)))
        return Usage(disk.total, disk.used)

    def _cpus(self) -> list[int]:
        return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


class ResourceProbe:
    """This reads `Resources`. CPU utilisation is that since the reading before, the first since the probe was
    made."""

    def __init__(
        self,
        disk_path: Path,
        clock: Clock,
        *,
        machine: Machine | None = None,
        cgroup: Cgroup | None = None,
    ) -> None:
        self._disk_path = disk_path
        self._clock = clock
        self._machine = machine if machine is not None else LocalMachine()
        self._cgroup = cgroup if cgroup is not None else Cgroup()
        self._cores = 1
        self._memory = Usage(0, 0)
        self._disk = Usage(0, 0)
        self._cpu_utilization = 0.0
        self._cpu_times: CpuTimes | None = None
        self._cpu_quota: float | None = None
        self._cpu_read_s = -math.inf
        self._measure_cpu()

    def read(self, active_queries: int) -> Resources:
        """Return the resources as of now."""
        self._measure_cpu()
        self._memory = self._read_memory()
        return Resources(
            cpu_cores=self._cores,
            memory_mb=self._memory.total_bytes // _MIB,
            disk_mb=self._disk.total_bytes // _MIB,
            active_queries=min(max(active_queries, 0), _LARGEST_INT32),
            cpu_utilization=self._cpu_utilization,
            memory_utilization=_fraction(self._memory.used_bytes, self._memory.total_bytes),
            memory_used_mb=self._memory.used_bytes // _MIB,
            disk_used_mb=self._disk.used_bytes // _MIB,
        )

    def refresh_disk(self) -> None:
        """Read the file system's figures again. This may block for long, so it is not for the event loop."""
        try:
            self._disk = _sane(self._machine.disk(self._disk_path))
        except (OSError, psutil.Error) as error:
            log.debug("disk_unreadable", path=str(self._disk_path), error=str(error))

    async def keep_disk_fresh(self) -> None:
        """Run `refresh_disk` in a thread now and every 30 s, for ever.

        A call that hangs delays only the next one, as long as no caller waits for the first.
        """
        while True:
            await trio.to_thread.run_sync(self.refresh_disk, abandon_on_cancel=True)
            await self._clock.sleep_until(self._clock.monotonic_s() + _DISK_INTERVAL_S)

    def _measure_cpu(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._cpu_read_s < _MIN_WINDOW_S:
            return
        try:
            cores, quota, times = self._cpu_now(now_s)
        except (OSError, psutil.Error) as error:
            log.debug("cpu_unreadable", error=str(error))
            return
        # A fractional quota runs on a whole core part of the time.
        self._cores = min(max(cores if quota is None else math.ceil(quota), 1), _LARGEST_INT32)
        before, self._cpu_times, self._cpu_read_s = self._cpu_times, times, now_s
        # Readings before and after a change of the quota come from different counters.
        comparable, self._cpu_quota = quota == self._cpu_quota, quota
        if before is not None and comparable:
            self._cpu_utilization = _fraction(times.busy_s - before.busy_s, times.total_s - before.total_s)

    def _cpu_now(self, now_s: float) -> tuple[int, float | None, CpuTimes]:
        """Return the number of CPUs, the quota if it is less, and counters of used and usable CPU seconds."""
        cores = self._machine.cores()
        quota = self._cgroup.cpu_quota()
        if quota is None or quota.cores >= cores:
            return cores, None, self._machine.cpu_times()
        if quota.used_s is None:
            return cores, quota.cores, self._machine.cpu_times()
        return cores, quota.cores, CpuTimes(quota.used_s, now_s * quota.cores)

    def _read_memory(self) -> Usage:
        try:
            memory = self._machine.memory()
        except (OSError, psutil.Error) as error:
            log.debug("memory_unreadable", error=str(error))
            memory = self._memory
        limit = self._cgroup.memory_limit()
        if limit is not None and (limit.limit_bytes < memory.total_bytes or memory.total_bytes <= 0):
            memory = Usage(limit.limit_bytes, limit.used_bytes)
        return _sane(memory)


def _fraction(part: float, whole: float) -> float:
    """Return part / whole, within 0.0 to 1.0; 0.0 where the whole is not positive, or one is not a number."""
    fraction = part / whole if whole > 0 else 0.0
    return min(fraction, 1.0) if fraction > 0 else 0.0


def _sane(usage: Usage) -> Usage:
    total_bytes = min(max(usage.total_bytes, 0), 2**63 - 1)
    return Usage(total_bytes, min(max(usage.used_bytes, 0), total_bytes))
