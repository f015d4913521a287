"""This benchmark measures the built executable: its size, and the time to its first output."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

from tests.bench.control_plane import first_answers_s
from tests.bench.table import Figure

RUNS = 11


def measure(executable: Path) -> list[Figure]:
    """Measure everything warm, with all files read from the disk before."""
    size_mb = executable.stat().st_size / 1e6
    version_ms = statistics.median(versions_s(RUNS, executable)) * 1000
    answer_ms = statistics.median(first_answers_s(RUNS, [str(executable)])) * 1000
    return [
        Figure("size", f"{size_mb:.1f} MB", "at most 25 MB", size_mb <= 25),
        Figure(f"--version, median of {RUNS}", f"{version_ms:,.0f} ms", "under 350 ms", version_ms < 350),
        Figure(
            f"start to first answer, median of {RUNS}",
            f"{answer_ms:,.0f} ms",
            "under 1,500 ms",
            answer_ms < 1500,
        ),
    ]


def versions_s(count: int, executable: Path) -> list[float]:
    """Measure, so many times, how long `--version` takes, after one run that does not count."""
    took_s = []
    for _ in range(count + 1):
        began_s = time.perf_counter()
        subprocess.run([executable, "--version"], check=True, stdout=subprocess.DEVNULL)
        took_s.append(time.perf_counter() - began_s)
    return took_s[1:]
