"""`make bench`: the figures there are, in one run. Exits 1 where a target is not met."""

from __future__ import annotations

import sys

from minicloud import log
from tests.bench import control_plane, registry, rpc_throughput, simulator
from tests.bench.table import print_figures


def main() -> int:
    """Measure and print."""
    log.configure("warning")
    renewals = registry.renewals()
    print_figures("registry renewals", renewals)
    print_figures("sweep", registry.sweeps())
    print_figures("memory", registry.memory())
    print_figures("control plane", control_plane.measure())
    simulated = simulator.measure()
    print_figures("simulator, virtual time to CPU time", simulated)
    print("\nheartbeats per CPU second of the server", flush=True)
    rpc_throughput.main([])
    return int(any(figure.met is False for figure in (*renewals, *simulated)))


if __name__ == "__main__":
    sys.exit(main())
