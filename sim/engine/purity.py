"""Keeps the real world out of a simulation: real time, real chance, real sockets, threads.

While `Purity` is entered, a call of these by MiniCloud or the simulator raises `ImpureError`, as it is a bug.
Other libraries that read a clock get the virtual time: they use it for stamps that nothing here reads.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

from sim.engine.clocks import EPOCH_S
from sim.engine.timeline import Timeline

_OURS = ("minicloud", "sim", "tests")


class ImpureError(Exception):
    """A simulation asked for something real."""


class Purity:
    """Replaces the functions that reach the real world while it is entered. Not re-entrant."""

    def __init__(self, timeline: Timeline) -> None:
        def monotonic_s() -> float:
            return timeline.now_s

        def monotonic_ns() -> int:
            return int(timeline.now_s * 1e9)

        def wall_s() -> float:
            return EPOCH_S + timeline.now_s

        def wall_ns() -> int:
            return int(wall_s() * 1e9)

        self._doors: list[tuple[Any, str, Callable[..., Any] | None]] = [
            (time, "time", wall_s),
            (time, "time_ns", wall_ns),
            (time, "monotonic", monotonic_s),
            (time, "monotonic_ns", monotonic_ns),
            (time, "perf_counter", monotonic_s),
            (time, "perf_counter_ns", monotonic_ns),
            (time, "sleep", None),
            (os, "urandom", None),
            (random, "_urandom", None),  # what SystemRandom took of os
            (uuid, "uuid4", None),
            (uuid, "uuid1", None),
            (random, "random", None),
            (random, "randint", None),
            (random, "randrange", None),
            (random, "getrandbits", None),
            (random, "uniform", None),
            (random, "choice", None),
            (random, "shuffle", None),
            (random, "sample", None),
            (socket.socket, "connect", None),
            (socket.socket, "bind", None),
            (threading.Thread, "start", None),
        ]
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        for owner, name, answer in self._doors:
            self._kept.append((owner, name, getattr(owner, name)))
            setattr(owner, name, _guarded(owner, name, answer))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner, name, real in reversed(self._kept):
            setattr(owner, name, real)
        self._kept.clear()


def _guarded(owner: Any, name: str, answer: Callable[..., Any] | None) -> Callable[..., Any]:
    shown = f"{owner.__name__}.{name}" if isinstance(owner, ModuleType | type) else name

    def door(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if answer is None or caller.partition(".")[0] in _OURS:
            raise ImpureError(f"{caller} asked for {shown} in a simulation: pass in a clock or a generator")
        return answer(*args, **kwargs)

    return door
