"""The outcome of a run against a real control plane. `--json` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sim.verdict.outcome import Quantiles, Violation


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a process: the share of one processor (1.0 is all of it), and its peak memory."""

    cpu_while_starting: float
    cpu_afterwards: float
    peak_rss_mb: float


@dataclass(slots=True)
class RealOutcome:
    """One run. `registered` of the `expected` workers were members when it was over and leaving began;
    `left_registered` are ids that may still be. Rates are of the time after the ramp."""

    scenario: str
    seed: int
    workers: int
    target: str
    wall_seconds: float = 0.0
    interrupted: bool = False
    signal: int = 0  # the one that interrupted it
    expected: int = 0
    registered: int = 0
    left_registered: int = 0
    registrations: int = 0
    peak_registrations_per_second: int = 0
    heartbeats: int = 0
    heartbeats_per_second: float = 0.0
    told_to_register: int = 0
    connections: int = 0
    connection_failures: int = 0
    latency_seconds: dict[str, Quantiles] = field(default_factory=dict)  # by method
    errors: dict[str, dict[str, int]] = field(default_factory=dict)  # by method and status
    unexpected_errors: dict[str, dict[str, int]] = field(default_factory=dict)  # those no fault explains
    violations: list[Violation] = field(default_factory=list)
    violations_total: int = 0  # those beyond the first hundred are counted only
    own_load: Load | None = None
    control_plane_load: Load | None = None  # where its process is on this machine, and may be looked at

    @property
    def held(self) -> bool:
        """True if no promise was broken and every expected worker was registered; interrupted runs are
        judged alike."""
        return not (
            self.violations_total
            or self.unexpected_errors
            or (self.left_registered and not self.interrupted)
            or (self.registered < self.expected and not self.interrupted)
        )
