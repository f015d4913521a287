"""A process can end with its parent if the kernel sends it a signal for that."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable


def death_signal() -> Callable[[], None] | None:
    """Return a function that has its caller get SIGTERM when its parent dies; None where the system has no
    such signal.

    The kernel goes by the parent's *thread* that started it. A parent that is dead already sends nothing, so
    the caller has to check after the call. Everything is looked up here, so that the call may come between
    fork and exec.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None or sys.platform != "linux":
        return None

    def request() -> None:
        prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG

    return request
