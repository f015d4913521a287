"""`minicloud-sim --target`: it turns the options of the command line into a run, its outputs and an exit
code."""

from __future__ import annotations

import argparse
import sys

import trio

from minicloud import log
from sim.cluster.topology import Topology
from sim.engine.interruption import Interrupted, finished_first
from sim.faults.schedule import Phases, Schedule
from sim.program.cli import BROKEN, HELD
from sim.program.results import STANDARD_OUTPUT, write_file
from sim.real.faults import check_supported
from sim.real.outcome import RealOutcome
from sim.real.report import Progress, summary, to_json
from sim.real.run import run_real
from sim.real.target import allow_open_files, find_target
from sim.scenario.scenario import seconds

_DEFAULT_WORKERS = 50
_DEFAULT_S = 60.0
_RAMP_S = 10.0


def main_real(options: argparse.Namespace, schedule: Schedule | None) -> int:
    """Run `schedule` against `options.target`; return the exit code.

    Without a schedule no fault happens, with `options.workers` for `options.duration` (50 and 60 s unless
    they are set). Reads also `ramp`, `allow_remote`, `seed` and `json` of the options. Raises
    `MiniCloudError` if it cannot run, and `Interrupted`, after the results so far have been written.
    """
    ramp_s = seconds(options.ramp, "--ramp") if options.ramp else _RAMP_S
    if schedule is None:
        duration_s = seconds(options.duration, "--duration") if options.duration else _DEFAULT_S
        schedule = steady(options.workers or _DEFAULT_WORKERS, options.seed or 0, ramp_s, duration_s)
    check_supported(schedule)
    target = find_target(options.target, allow_remote=options.allow_remote)
    allow_open_files(schedule.topology.workers)
    log.configure("error")  # the log of thousands of workers is of no use
    log.redirect_stderr()  # progress is shown by the loop that the workers run in
    progress = Progress(sys.stderr)
    try:
        outcome = trio.run(lambda: run_real(schedule, target, ramp_s=ramp_s, report=progress))
    finally:
        progress.done()
        log.flush()  # what is written from here on goes past the queue that progress went through
    _write(options, outcome)
    if outcome.signal:
        raise Interrupted(outcome.signal, f"{outcome.left_registered} workers are left registered")
    return HELD if outcome.held else BROKEN


def _write(options: argparse.Namespace, outcome: RealOutcome) -> None:
    document = to_json(outcome) + b"\n"
    to_standard_output = options.json == STANDARD_OUTPUT
    print(summary(outcome), file=sys.stderr if to_standard_output else sys.stdout)
    if to_standard_output:
        sys.stdout.write(document.decode())
    elif options.json:
        with finished_first():
            write_file("--json", options.json, document)


def steady(workers: int, seed: int, ramp_s: float, duration_s: float) -> Schedule:
    """A schedule without faults, of `duration_s` after the ramp."""
    return Schedule("steady", seed, Topology(workers=workers), Phases(ramp_s, duration_s, 0.0), ())
