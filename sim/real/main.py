"""`minicloud-sim --target`: from the command line's options to an exit code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import trio

from minicloud import log
from sim.cli import BROKEN, HELD
from sim.cluster.cluster import Topology
from sim.engine.interruption import Interrupted, finished_first
from sim.real.faults import check_supported
from sim.real.outcome import RealOutcome
from sim.real.report import Progress, summary, to_json
from sim.real.run import run_real
from sim.real.target import RealModeError, allow_open_files, find_target
from sim.scenario.scenario import seconds
from sim.scenario.schedule import Phases, Schedule

_DEFAULT_WORKERS = 50
_DEFAULT_S = 60.0
# What is there only where time and network are ours.
_VIRTUAL_ONLY = (
    "seeds",
    "depth",
    "mutate",
    "jobs",
    "until_failure",
    "check_determinism",
    "shrink",
    "report",
    "junit",
    "trace",
)


def main_real(options: argparse.Namespace, schedule: Schedule | None) -> int:
    """Run `schedule` against `options.target`; the exit code.

    Without a schedule nothing goes wrong, with `options.workers` for `options.duration` (50 and 60 s unless
    they are set). Reads also `ramp`, `allow_remote`, `seed` and `json` of the options. Raises
    `MiniCloudError` for what cannot run, and `Interrupted`, after the results so far have been written.
    """
    _check(options)
    ramp_s = seconds(options.ramp, "--ramp")
    if schedule is None:
        duration_s = seconds(options.duration, "--duration") if options.duration else _DEFAULT_S
        schedule = steady(options.workers or _DEFAULT_WORKERS, options.seed, ramp_s, duration_s)
    check_supported(schedule)
    target = find_target(options.target, allow_remote=options.allow_remote)
    allow_open_files(schedule.topology.workers)
    log.configure("error")  # what thousands of workers log nobody reads
    progress = Progress(sys.stderr)
    try:
        outcome = trio.run(lambda: run_real(schedule, target, ramp_s=ramp_s, tell=progress))
    finally:
        progress.done()
    _write(options, outcome)
    if outcome.signal:
        raise Interrupted(outcome.signal, f"{outcome.left_registered} workers are left registered")
    return HELD if outcome.held else BROKEN


def _write(options: argparse.Namespace, outcome: RealOutcome) -> None:
    to_standard_output = options.json == "-"
    if options.json and not to_standard_output:
        with finished_first():
            Path(options.json).write_bytes(to_json(outcome) + b"\n")
    print(summary(outcome), file=sys.stderr if to_standard_output else sys.stdout)
    if to_standard_output:
        sys.stdout.write((to_json(outcome) + b"\n").decode())


def _check(options: argparse.Namespace) -> None:
    """Raises `RealModeError` for options that mean nothing here, so that none is passed over."""
    for name in _VIRTUAL_ONLY:
        if getattr(options, name):
            raise RealModeError(f"--{name.replace('_', '-')} is not for --target: leave it out")
    if len(options.scenario or ()) > 1:
        raise RealModeError("--target takes one --scenario at a time")
    if options.fault and not options.scenario:
        raise RealModeError("--fault with --target wants the --scenario to add it to, such as steady")


def steady(workers: int, seed: int, ramp_s: float, duration_s: float) -> Schedule:
    """Nothing goes wrong for `duration_s` after the ramp."""
    return Schedule("steady", seed, Topology(workers=workers), Phases(ramp_s, duration_s, 0.0), ())
