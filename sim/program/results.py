"""The outputs of a command about its runs: the files that were asked for, and a summary."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EISDIR, ENOENT
from pathlib import Path

from minicloud.cli.output import ReaderGoneError
from minicloud.cli.text import Paint
from minicloud.core.errors import MiniCloudError
from sim.engine.interruption import finished_first
from sim.faults.kinds import KINDS
from sim.faults.schedule import Fault, Schedule
from sim.program.run import Run
from sim.report.documents import to_json, to_junit
from sim.report.page import write_report
from sim.report.summary import summary

STANDARD_OUTPUT = "-"


class CannotWriteError(MiniCloudError):
    """A file that was asked for cannot be written."""


@contextmanager
def named(option: str, path: str) -> Iterator[None]:
    """Name the option and the path where the block raises `OSError`."""
    try:
        yield
    except OSError as error:
        what = "a folder" if option == "--report" else "a file"
        why = error.strerror or str(error)
        raise CannotWriteError(f"{option} {path}: {why}: name {what} that can be written") from None


def check_outputs(options: argparse.Namespace) -> None:
    """Refuse, before anything runs, outputs that cannot be written. Raises `CannotWriteError`."""
    files = {f"--{name}": getattr(options, name) for name in ("json", "junit", "trace")}
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if not path or (option == "--json" and path == STANDARD_OUTPUT):
            continue
        if path == STANDARD_OUTPUT:
            raise CannotWriteError(f"{option} -: only --json is written to standard output: name a file")
        with named(option, path):
            if path.endswith("/") or Path(path).is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            if not Path(path).exists() and not Path(path).parent.is_dir():
                raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
            _check_writable(Path(path) if Path(path).exists() else Path(path).parent)
        other = seen.setdefault(Path(path).absolute(), option)
        if other != option and (Path(path).is_file() or not Path(path).exists()):
            raise CannotWriteError(f"{option} {path}: {other} writes this file: name another")
    if options.report:
        with named("--report", options.report):
            Path(options.report).mkdir(parents=True, exist_ok=True)
            _check_writable(Path(options.report))
    elif options.shrink:
        with named("--shrink", os.curdir):
            _check_writable(Path(os.curdir))


def _check_writable(path: Path) -> None:
    path.stat()
    if not os.access(path, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES))


def write_file(option: str, path: str, data: bytes) -> None:
    """Write the file that `option` asks for. Raises `CannotWriteError`."""
    with named(option, path):
        Path(path).write_bytes(data)


def write_results(options: argparse.Namespace, done: Sequence[tuple[Schedule, Run]], *, whole: bool) -> None:
    """Write the outputs that `options` ask for about the runs that are `done`.

    The outputs show that runs are missing unless `whole`. Raises `CannotWriteError`.
    """
    runs = [run for _, run in done]
    outcomes = [outcome for outcome, _ in runs]
    problems: list[CannotWriteError] = []
    with finished_first():
        for write in (_write_json, _write_junit, _write_report):
            try:
                write(options, done, whole)
            except CannotWriteError as problem:  # what can be written is, and the summary is printed
                problems.append(problem)
    with suppress(ReaderGoneError):  # a reader that closes the pipe changes no verdict
        if options.json == STANDARD_OUTPUT:
            sys.stdout.write(to_json(outcomes, whole=whole).decode())
        else:
            print("\n".join(summary(outcomes, Paint(sys.stdout))))
        sys.stdout.flush()
    if problems:
        raise problems[0]


_Done = Sequence[tuple[Schedule, Run]]


def _write_json(options: argparse.Namespace, done: _Done, whole: bool) -> None:
    if options.json and options.json != STANDARD_OUTPUT:
        write_file("--json", options.json, to_json([outcome for _, (outcome, _) in done], whole=whole))


def _write_junit(options: argparse.Namespace, done: _Done, whole: bool) -> None:
    if options.junit:
        write_file("--junit", options.junit, to_junit([outcome for _, (outcome, _) in done]))


def _write_report(options: argparse.Namespace, done: _Done, whole: bool) -> None:
    if options.report:
        folder = Path(options.report)
        with named("--report", options.report):
            page = write_report(folder, [run for _, run in done], whole=whole)
            for schedule, _ in done:
                _schedule_file(folder, schedule).write_bytes(schedule.to_json())
        print(f"report: {page}", file=sys.stderr)


def write_smallest(options: argparse.Namespace, schedule: Schedule) -> Path:
    """Write the smallest schedule that shrinking found, print its faults and its command, and return its
    path."""
    path = _schedule_file(Path(options.report or "."), schedule, "smallest")
    with finished_first():
        write_file("--shrink", str(path), schedule.to_json())
    for fault in schedule.faults:
        ends = f" to {fault.end_s:.1f}" if fault.for_s else ""
        print(f"  {fault.at_s:.1f}{ends} s: {fault.kind} of {', '.join(fault.nodes)}{_options(fault)}")
    command = ["minicloud-sim", "--replay", str(path)]
    if options.mutate:
        command += ["--mutate", options.mutate]
    print(f"the smallest schedule that breaks it: {shlex.join(command)}")
    return path


def repeated(options: argparse.Namespace, source: str, schedule: Schedule) -> str:
    """The command that repeats the run of `schedule` alone, which `source` named."""
    words = ["minicloud-sim"]
    if options.replay:
        words += ["--replay", source]
    else:
        words += ["--scenario", source, "--seed", str(schedule.seed)]
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
