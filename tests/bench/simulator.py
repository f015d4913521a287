"""This benchmark measures the simulator: its speed against real time, and its memory.

Each run is a process of its own, measured as a whole: its CPU time, which other programs beside it distort
less than the time on the wall, and its largest memory. Start, setup and the end are in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.bench.table import Figure

_TARGET = 40.0
_MOST_MB = 1000.0


def measure() -> list[Figure]:
    """Measure `steady` in several sizes, at both depths."""
    speed, memory_mb = _run("messages", 5_000)
    found = [
        Figure("5,000 workers", _times(speed), f"at least {_TARGET:g} times", speed >= _TARGET),
        Figure("  memory", f"{memory_mb:,.0f} MB", f"at most {_MOST_MB:,.0f} MB", memory_mb <= _MOST_MB),
    ]
    for workers in (50, 1_000):
        speed, memory_mb = _run("wire", workers)
        found.append(Figure(f"{workers:,} workers, depth wire", f"{_times(speed)}, {memory_mb:,.0f} MB"))
    return found


def _times(speed: float) -> str:
    return f"{speed:,.0f} times"


def _run(depth: str, workers: int) -> tuple[float, float]:
    """Return the virtual seconds for each second of CPU time, and the memory in MB."""
    command = [sys.executable, "-m", "sim", "--scenario", "steady", "--depth", depth, "--json", "-"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    with process.stdout:
        out = process.stdout.read()
    # `process.wait` would not do: the kernel gives the usage of this one child, its peak above all, to the
    # call that reaps it.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} exited with {process.returncode}"
    return json.loads(out)["virtual_seconds"] / (usage.ru_utime + usage.ru_stime), usage.ru_maxrss / 1024
