"""Runs one schedule in this process, with the oracle and the recorder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sim.faults.schedule import Schedule
from sim.oracle.oracle import Oracle
from sim.record.record import Record
from sim.record.recorder import Recorder
from sim.simulation.simulation import Simulation
from sim.verdict.mutants import applied
from sim.verdict.outcome import Outcome


@dataclass(frozen=True, slots=True)
class How:
    """The settings that every run of a command shares. `mutant` is a known bug to switch on, or empty."""

    mutant: str = ""
    until_failure: bool = False
    trace: Path | None = None


Run = tuple[Outcome, Record]


def run_one(schedule: Schedule, how: How, report: Callable[[Schedule, float], None] | None = None) -> Run:
    """Run `schedule` here. `report` is called with the virtual time, each virtual second.

    Raises `OSError` if the trace cannot be written; the trace of an unfinished run has whole events.
    """
    oracle = Oracle(how.until_failure)
    recorder = Recorder(schedule, oracle.violations, how.trace)
    simulation = Simulation(schedule, [oracle, recorder])
    if report is not None:
        timeline = simulation.timeline
        simulation.progress = lambda: report(schedule, timeline.now_s)
    began_s = time.perf_counter()
    try:
        with applied(how.mutant):
            simulation.run()
    finally:
        recorder.close()
    topology = schedule.topology
    outcome = Outcome(schedule.name, schedule.seed, topology.workers, topology.depth)
    outcome.wall_seconds = time.perf_counter() - began_s
    outcome.hashed = hash("minicloud")
    recorder.fill(outcome)
    oracle.fill(outcome)
    return outcome, recorder.record(oracle.detection_s, oracle.recovery_s)
