"""The stalls of the control plane, against those for which it moves its deadlines (promise 18)."""

from __future__ import annotations

from sim.cluster.topology import CONTROL_PLANE
from sim.oracle.ledger import Ledger
from sim.verdict.promises import STALLS_COMPENSATED

# A stall is noticed when the control plane wakes up more than this late ...
_TOLERANCE_S = 1.0
# ... and it means to wake up so often in a timeout, so that the stall's first part may go unnoticed.
_LOOKS_PER_TIMEOUT = 24
_ROUNDING_S = 1e-6


class Stalls:
    """Compares real stalls with reported ones. Instants are those of the control plane's own clock."""

    def __init__(self, ledger: Ledger, timeout_s: float) -> None:
        self._ledger = ledger
        self._unnoticed_s = timeout_s / _LOOKS_PER_TIMEOUT
        self._paused_s: float | None = None
        self._stalled_s = 0.0  # of which nothing has been reported yet

    def restart(self) -> None:
        """Start over for a new control plane."""
        self._paused_s = None
        self._stalled_s = 0.0

    def paused(self, now_s: float) -> None:
        """Note that its process stands still, from now on unless it did before."""
        if self._paused_s is None:
            self._paused_s = now_s

    def resumed(self, now_s: float) -> None:
        """Note that its process runs again."""
        if self._paused_s is not None:
            self._stalled_s = now_s - self._paused_s
            self._paused_s = None

    def reported(self, by_s: float, now_s: float) -> None:
        """Check that the control plane moves every deadline by the length of its stall."""
        self.resumed(now_s)  # it may report before the end of the fault is observed
        stalled_s, self._stalled_s = self._stalled_s, 0.0
        self._ledger.require(
            STALLS_COMPENSATED,
            stalled_s - self._unnoticed_s - _ROUNDING_S <= by_s <= stalled_s + _ROUNDING_S,
            CONTROL_PLANE,
            f"the control plane moved every deadline by {by_s:.6f} s; it stood still for {stalled_s:.6f} s",
        )

    def check(self) -> None:
        """Check that no stall is unreported; the control plane has had the time to notice."""
        stalled_s, self._stalled_s = self._stalled_s, 0.0
        self._ledger.require(
            STALLS_COMPENSATED,
            stalled_s <= self._unnoticed_s + _TOLERANCE_S + _ROUNDING_S,
            CONTROL_PLANE,
            f"the control plane stood still for {stalled_s:.6f} s and moved no deadline",
        )
