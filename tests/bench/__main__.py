"""`make bench` measures all figures in one run, with those of the executable if it has been built.

It exits with 1 where a target is not met.
"""

from __future__ import annotations

import sys
from pathlib import Path

from minicloud import log
from tests.bench import control_plane, executable, registry, rpc_throughput, simulator
from tests.bench.table import print_figures

EXECUTABLE = Path(__file__).resolve().parents[2] / "dist" / "minicloud"


def main() -> int:
    """Measure and print."""
    log.configure("warning")
    # This comes first, as the peak memory of a process includes that of its parent at the moment it was made.
    simulated = simulator.measure()
    print_figures("simulator, virtual time to CPU time", simulated)
    renewals = registry.renewals()
    print_figures("registry renewals", renewals)
    print_figures("sweep", registry.sweeps())
    print_figures("memory", registry.memory())
    print_figures("control plane", control_plane.measure())
    built = executable.measure(EXECUTABLE) if EXECUTABLE.exists() else []
    if built:
        print_figures("executable", built)
    print("\nheartbeats per CPU second of the server", flush=True)
    rpc_throughput.main([])
    return int(any(figure.met is False for figure in (*renewals, *simulated, *built)))


if __name__ == "__main__":
    sys.exit(main())
