"""The measurements of a fleet: durations of calls, failures by reason, and the rate of registrations.

Always holds: memory is bounded however long it runs; an error is `unexpected` unless a fault explains it
(tests/sim/test_real.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from sim.real.histogram import Histogram
from sim.real.outcome import RealOutcome
from sim.verdict.outcome import Violation

_KEPT_VIOLATIONS = 100


class Method(StrEnum):
    """The operations that are measured: the three calls, and making the connection that carries them."""

    CONNECT = "connect"
    REGISTER = "register"
    HEARTBEAT = "heartbeat"
    DEREGISTER = "deregister"


@dataclass(slots=True)
class Figures:
    """The figures of one fleet. Errors are counted by method and gRPC status, those of connections by
    reason."""

    latencies: dict[Method, Histogram] = field(default_factory=lambda: {each: Histogram() for each in Method})
    errors: Counter[tuple[Method, str]] = field(default_factory=Counter)
    unexpected: Counter[tuple[Method, str]] = field(default_factory=Counter)
    registrations: int = 0
    peak_registrations_per_second: int = 0
    heartbeats: int = 0  # acknowledged
    told_to_register: int = 0
    violations: list[Violation] = field(default_factory=list)
    violations_total: int = 0  # those beyond the first hundred are counted only
    _second: int = -1
    _in_second: int = 0

    def answered(self, method: Method, took_s: float) -> None:
        self.latencies[method].add(took_s)

    def failed(self, method: Method, status: str, *, expected: bool) -> None:
        self.errors[method, status] += 1
        if not expected:
            self.unexpected[method, status] += 1

    def registered(self, at_s: float) -> None:
        """Count a registration that was granted `at_s` after the start."""
        self.registrations += 1
        if int(at_s) != self._second:
            self._second, self._in_second = int(at_s), 0
        self._in_second += 1
        self.peak_registrations_per_second = max(self.peak_registrations_per_second, self._in_second)

    def violated(self, violation: Violation) -> None:
        self.violations_total += 1
        if len(self.violations) < _KEPT_VIOLATIONS:
            self.violations.append(violation)

    def fill(self, outcome: RealOutcome) -> None:
        """Write the figures into `outcome`."""
        outcome.registrations = self.registrations
        outcome.peak_registrations_per_second = self.peak_registrations_per_second
        outcome.heartbeats = self.heartbeats
        outcome.told_to_register = self.told_to_register
        outcome.connections = self.latencies[Method.CONNECT].count
        outcome.connection_failures = sum(n for (method, _), n in self.errors.items() if method == "connect")
        outcome.latency_seconds = {
            method.value: histogram.quantiles() for method, histogram in self.latencies.items()
        }
        outcome.errors = _by_method(self.errors)
        outcome.unexpected_errors = _by_method(self.unexpected)
        outcome.violations = self.violations
        outcome.violations_total = self.violations_total


def _by_method(errors: Counter[tuple[Method, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (method, status), number in sorted(errors.items()):
        table.setdefault(method.value, {})[status] = number
    return table
