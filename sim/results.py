"""What a command writes about its runs: the files that were asked for, and a summary."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from minicloud.cli.output import ReaderGoneError
from minicloud.cli.text import Paint
from sim.engine.interruption import finished_first
from sim.report.documents import to_json, to_junit
from sim.report.page import write_report
from sim.report.summary import summary
from sim.run import Run
from sim.scenario.schedule import Fault, Schedule
from sim.scenario.table import KINDS


def write_results(options: argparse.Namespace, done: Sequence[tuple[Schedule, Run]], *, whole: bool) -> None:
    """Write of the runs that are `done` what `options` ask for; they are not all there were unless `whole`.

    Raises `OSError` where a file cannot be written.
    """
    runs = [run for _, run in done]
    outcomes = [outcome for outcome, _ in runs]
    with finished_first():
        if options.json and options.json != "-":
            Path(options.json).write_bytes(to_json(outcomes, whole=whole))
        if options.junit:
            Path(options.junit).write_bytes(to_junit(outcomes))
        if options.report:
            folder = Path(options.report)
            page = write_report(folder, runs, whole=whole)
            for schedule, _ in done:
                _schedule_file(folder, schedule).write_bytes(schedule.to_json())
    if options.report:
        print(f"report: {page}", file=sys.stderr)
    with suppress(ReaderGoneError):  # who has read enough changes no verdict
        if options.json == "-":
            sys.stdout.write(to_json(outcomes, whole=whole).decode())
        else:
            print("\n".join(summary(outcomes, Paint(sys.stdout))))
        sys.stdout.flush()


def write_smallest(options: argparse.Namespace, schedule: Schedule) -> Path:
    """Write the schedule that shrinking has come to, and print what is in it and how to run it; its path."""
    path = _schedule_file(Path(options.report or "."), schedule, "smallest")
    with finished_first():
        path.write_bytes(schedule.to_json())
    for fault in schedule.faults:
        ends = f" to {fault.end_s:.1f}" if fault.for_s else ""
        print(f"  {fault.at_s:.1f}{ends} s: {fault.kind} of {', '.join(fault.nodes)}{_options(fault)}")
    command = ["minicloud-sim", "--replay", str(path)]
    if options.mutate:
        command += ["--mutate", options.mutate]
    print(f"the smallest schedule that breaks it: {shlex.join(command)}")
    return path


def repeated(options: argparse.Namespace, schedule: Schedule) -> str:
    """The command that repeats the run of `schedule` alone."""
    words = ["minicloud-sim"]
    if options.replay:
        words += ["--replay", options.replay]
    else:
        name = schedule.name
        if options.scenario:  # a file goes by its path, not by the name in it
            name = next((each for each in options.scenario if each == name), options.scenario[0])
        words += ["--scenario", name, "--seed", str(schedule.seed)]
        for flag in ("workers", "duration"):
            if getattr(options, flag):
                words += [f"--{flag}", str(getattr(options, flag))]
        for fault in options.fault:
            words += ["--fault", fault]
        if options.depth:
            words += ["--depth", options.depth]
    if options.mutate:
        words += ["--mutate", options.mutate]
    return shlex.join(words)


def _options(fault: Fault) -> str:
    """A fault's options as a scenario has them, each after a space."""
    options = [(KINDS[fault.kind].option(name), value) for name, value in fault.options.items()]
    return "".join(f" {option.name}={option.kind.write(value)}" for option, value in options)


def _schedule_file(folder: Path, schedule: Schedule, what: str = "schedule") -> Path:
    return folder / f"{schedule.name}-{schedule.seed}-{what}.json"
