"""Runs schedules: one here, or many in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from minicloud.cli.parent import death_signal
from sim.mutants import applied
from sim.oracle.oracle import Oracle
from sim.outcome import Outcome
from sim.record.record import Record
from sim.record.recorder import Recorder
from sim.scenario.schedule import Schedule
from sim.simulation import Simulation


@dataclass(frozen=True, slots=True)
class How:
    """What is the same for every run of a command. `mutant` is a known bug to switch on, or empty."""

    mutant: str = ""
    until_failure: bool = False
    trace: Path | None = None


Run = tuple[Outcome, Record]


def run_one(schedule: Schedule, how: How, tell: Callable[[Schedule, float], None] | None = None) -> Run:
    """Run `schedule` here. `tell` is told, each virtual second, how far it has come.

    Raises `OSError` where the trace cannot be written.
    """
    oracle = Oracle(how.until_failure)
    recorder = Recorder(schedule, oracle.violations, how.trace)
    simulation = Simulation(schedule, [oracle, recorder])
    if tell is not None:
        told, timeline = tell, simulation.timeline
        simulation.progress = lambda: told(schedule, timeline.now_s)
    began_s = time.perf_counter()
    with applied(how.mutant):
        simulation.run()
    topology = schedule.topology
    outcome = Outcome(schedule.name, schedule.seed, topology.workers, topology.depth)
    outcome.wall_seconds = time.perf_counter() - began_s
    outcome.hashed = hash("minicloud")
    recorder.fill(outcome)
    oracle.fill(outcome)
    return outcome, recorder.record(oracle.detection_s, oracle.recovery_s)


def run_many(schedules: Sequence[Schedule], how: How, jobs: int) -> Iterator[tuple[int, Run]]:
    """Run `schedules` in up to `jobs` processes; each run with its place among them, as they end."""
    # Spawned, not forked: each starts from nothing, as a run of its own does.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(schedules)), context, initializer=_belong_to_parent)
    try:
        places = {pool.submit(run_one, schedule, how): place for place, schedule in enumerate(schedules)}
        for future in as_completed(places):
            yield places[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _belong_to_parent() -> None:
    """Leave Ctrl-C to it, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (request := death_signal()) is not None:
        request()
    if (parent := multiprocessing.parent_process()) is not None and not parent.is_alive():
        os._exit(1)
