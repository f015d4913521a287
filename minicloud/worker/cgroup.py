"""This module reads the limits and the usage of this process's control group. Outside of Linux there is no
limit.

Sources: Documentation/admin-guide/cgroup-v2.rst (cpu.max, cpu.stat, memory.max, memory.current, memory.stat),
cgroup-v1/memory.rst and scheduler/sched-bwc.rst of the Linux kernel; proc(5) and cgroups(7).

Always holds: a limit anywhere up the tree counts, and the tightest wins; a missing or malformed file is no
limit. `tests/unit/worker/test_cgroup.py` keeps these. Nothing is kept between two readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SYS_FS_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """This is the number of CPU seconds a second that the group may use, and the number used so far (None:
    unknown).

    Both are of the group that carries the limit, as its whole subtree shares it.
    """

    cores: float
    used_s: float | None


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The sizes are bytes. `used` is without file pages that the kernel takes back first: inactive_file."""

    limit_bytes: int
    used_bytes: int


class Cgroup:
    """This is the control group of the process `proc/self`. A reading takes some 10 file reads and no
    disk."""

    def __init__(self, proc: Path = PROC, sys_fs_cgroup: Path = SYS_FS_CGROUP) -> None:
        self._proc = proc
        self._root = sys_fs_cgroup

    def cpu_quota(self) -> CpuQuota | None:
        """Return the tightest CPU bandwidth limit; None where there is none."""
        tightest: CpuQuota | None = None
        for group in self._groups("cpu"):
            cores = _quota_v2(group) or _quota_v1(group)
            if cores is not None and (tightest is None or cores < tightest.cores):
                tightest = CpuQuota(cores, self._cpu_used_s(group))
        return tightest

    def memory_limit(self) -> MemoryLimit | None:
        """Return the tightest memory limit, which may exceed the machine's memory; None where there is
        none."""
        tightest: MemoryLimit | None = None
        for group in self._groups("memory"):
            found = _memory_v2(group) or _memory_v1(group)
            if found is not None and (tightest is None or found.limit_bytes < tightest.limit_bytes):
                tightest = found
        return tightest

    def _cpu_used_s(self, group: Path) -> float | None:
        used_us = _keyed(group / "cpu.stat").get("usage_usec")
        if used_us is not None:
            return used_us / 1e6
        # v1 counts usage in a hierarchy of its own, most often mounted together with that of cpu.
        for accounting in (group, self._root / "cpuacct" / self._path_of("cpuacct")):
            used_ns = _number(accounting / "cpuacct.usage")
            if used_ns is not None:
                return used_ns / 1e9
        return None

    def _groups(self, controller: str) -> Iterator[Path]:
        """Yield this process's group in the hierarchy of `controller`, and all visible groups above it.

        Inside a container the paths of /proc/self/cgroup may be the host's, while only the container's own
        group is mounted, as the root. So missing paths are passed over, and the root is always tried.
        """
        v1 = self._root / controller  # a directory, or a link to the likes of "cpu,cpuacct"
        root = v1 if v1.is_dir() else self._root
        path = Path(self._path_of(controller))
        for ancestor in (path, *path.parents):
            if (root / ancestor).is_dir():
                yield root / ancestor

    def _path_of(self, controller: str) -> str:
        """Return the group's path in that hierarchy, relative to its mount; "." for the root.

        Lines are "id:controllers:path"; that of v2 is "0::path". A path with ".." lies outside of what this
        process can see.
        """
        unified = ""
        for line in _text(self._proc / "self" / "cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controller in controllers.split(","):
                return _inside(path)
            if not controllers:
                unified = path
        return _inside(unified)


def _inside(path: str) -> str:
    return "." if ".." in path.split("/") else path.strip("/") or "."


def _quota_v2(group: Path) -> float | None:
    # cpu.max: "$MAX $PERIOD" in microseconds, $MAX may be "max".
    fields = _text(group / "cpu.max").split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields):
        return None
    return _cores(int(fields[0]), int(fields[1]))


def _quota_v1(group: Path) -> float | None:
    # Microseconds; a quota of -1 is none.
    quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return _cores(quota_us, period_us) if quota_us is not None and period_us is not None else None


def _cores(quota_us: int, period_us: int) -> float | None:
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _memory_v2(group: Path) -> MemoryLimit | None:
    limit = _number(group / "memory.max")  # "max" is none
    if limit is None:
        return None
    used = (_number(group / "memory.current") or 0) - _keyed(group / "memory.stat").get("inactive_file", 0)
    return MemoryLimit(limit, max(used, 0))


def _memory_v1(group: Path) -> MemoryLimit | None:
    limit = _number(group / "memory.limit_in_bytes")  # none is a number no machine has, 2^63 less a page
    if limit is None:
        return None
    stat = _keyed(group / "memory.stat")
    # This includes limits of groups above that a container cannot see.
    limit = min(limit, stat.get("hierarchical_memory_limit", limit))
    used = (_number(group / "memory.usage_in_bytes") or 0) - stat.get("total_inactive_file", 0)
    return MemoryLimit(limit, max(used, 0))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _keyed(path: Path) -> dict[str, int]:
    """Return the "key number" lines of a file."""
    found = {}
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if value.isdecimal() and len(value) < 20:
            found[key] = int(value)
    return found
