"""The outcome of a run: its figures, violations and coverage goals. `--json` writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sim.net.network import Counts


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that did not hold. `context` has the last events of `node`, oldest first."""

    promise: str
    at_s: float
    node: str
    text: str
    context: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of durations in seconds, by the nearest-rank method; 0.0 if there were none."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, durations_s: Sequence[float]) -> Quantiles:
        if not durations_s:
            return cls()
        ordered = sorted(durations_s)

        def rank(share: float) -> float:
            return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

        return cls(rank(0.5), rank(0.95), rank(0.99), ordered[-1], len(ordered))


class Verdict(StrEnum):
    """The verdict on a run. Inconclusive: no promise was broken, but a coverage goal was missed."""

    HELD = "held"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"


@dataclass(slots=True)
class Outcome:
    """The outcome of one run.

    `virtual_seconds` passed in it, `wall_seconds` while it was computed; `command` repeats it. `hashed`
    differs between processes that hash strings differently.
    """

    scenario: str
    seed: int
    workers: int
    depth: str = "messages"
    virtual_seconds: float = 0.0
    wall_seconds: float = 0.0
    heartbeats: int = 0
    registrations: int = 0
    trace_hash: str = ""
    violations: list[Violation] = field(default_factory=list)
    violations_total: int = 0  # those beyond the first hundred are counted only
    checks: dict[str, int] = field(default_factory=dict)  # by promise: how often it was checked
    goals: dict[str, int] = field(default_factory=dict)  # by coverage goal: how often it was reached
    missed_goals: tuple[str, ...] = ()
    detection_seconds: Quantiles = field(default_factory=Quantiles)
    recovery_seconds: Quantiles = field(default_factory=Quantiles)
    false_positives: int = 0
    peak_registrations_per_second: int = 0
    messages: Counts = field(default_factory=Counts)
    command: str = ""
    hashed: int = 0

    @property
    def verdict(self) -> Verdict:
        if self.violations:
            return Verdict.BROKEN
        return Verdict.INCONCLUSIVE if self.missed_goals else Verdict.HELD

    @property
    def speed(self) -> float:
        """The number of virtual seconds that passed in a real one; 0 if that was not measured."""
        return self.virtual_seconds / self.wall_seconds if self.wall_seconds else 0.0
