"""The CPU time and memory of a process on this machine."""

from __future__ import annotations

import os

import psutil

from sim.real.outcome import Load


class Usage:
    """Measures the process `pid` from now on. Once it has ended, its last figures stand."""

    def __init__(self, pid: int, now_s: float) -> None:
        self._process = psutil.Process(pid)
        self._starting_s = self._began_s = self._seen_s = now_s
        self._starting_cpu_s = self._began_cpu_s = self._cpu_s = 0.0
        self._peak_bytes = 0
        self._starting = True
        self._read(now_s)
        self._starting_cpu_s = self._began_cpu_s = self._cpu_s

    def sample(self, now_s: float, *, ramp_over: bool) -> None:
        """Measure again. The first sample after the ramp separates the two times."""
        self._read(now_s)
        if self._starting:
            self._began_s, self._began_cpu_s = self._seen_s, self._cpu_s
            self._starting = not ramp_over

    def load(self) -> Load:
        return Load(
            _share(self._began_cpu_s - self._starting_cpu_s, self._began_s - self._starting_s),
            _share(self._cpu_s - self._began_cpu_s, self._seen_s - self._began_s),
            round(self._peak_bytes / 2**20, 1),
        )

    def _read(self, now_s: float) -> None:
        try:
            times, memory = self._process.cpu_times(), self._process.memory_info()
        except psutil.Error:
            return
        self._seen_s, self._cpu_s = now_s, times.user + times.system
        self._peak_bytes = max(self._peak_bytes, memory.rss)


def own_usage(now_s: float) -> Usage:
    """The usage of this process."""
    return Usage(os.getpid(), now_s)


def usage_of_listener(host: str, port: int, now_s: float) -> Usage | None:
    """The usage of the process that listens at this address of this machine; None if that cannot be seen."""
    try:
        for each in psutil.net_connections("tcp"):
            if each.status != psutil.CONN_LISTEN or each.pid is None or not each.laddr:
                continue
            if each.laddr.port == port and each.laddr.ip in (host, "0.0.0.0", "::"):
                return Usage(each.pid, now_s)
    except psutil.Error:
        pass
    return None


def _share(cpu_s: float, wall_s: float) -> float:
    return round(cpu_s / wall_s, 3) if wall_s > 0 else 0.0
