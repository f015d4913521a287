"""The record of a run for the report: samples of the cluster over time, and the moment of the first
violation.

Always holds: its size does not grow with the length of the run. It grows with the number of workers only by
durations of detection and recovery, of which there is one for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sim.faults.schedule import Schedule
from sim.net.exchanges import Exchange
from sim.verdict.outcome import Violation


class Sample(NamedTuple):
    """The cluster at `at_s`, as its control plane had it, and the counts since the sample before.

    While no control plane runs (`up` is False) the counts of workers are 0.
    """

    at_s: float
    up: bool
    healthy: int
    unhealthy: int
    draining: int
    heartbeats: int
    registrations: int


class Mark(NamedTuple):
    """An event at `node`, other than a message."""

    at_s: float
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """The first violation, the calls around it in the order in which they were sent, and other events at
    their nodes."""

    violation: Violation
    exchanges: tuple[Exchange, ...]
    marks: tuple[Mark, ...]


@dataclass(slots=True)
class Record:
    """One run. `step_s` passes from each sample to the next; `outages` are from when to when no control plane
    ran. Durations are in the order in which they ended."""

    schedule: Schedule
    step_s: float
    samples: list[Sample] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    moment: Moment | None = None
    detection_s: list[float] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
