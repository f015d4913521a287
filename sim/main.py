"""`minicloud-sim`: from a command line to runs, what is written of them, and an exit code."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minicloud.cli.itself import child_environment, minicloud_command
from minicloud.cli.text import Paint
from minicloud.core.errors import MiniCloudError
from sim.cli import (
    BROKEN,
    COULD_NOT_RUN,
    HELD,
    INCONCLUSIVE,
    INTERRUPTED,
    NOT_DETERMINISTIC,
    STANDING,
    sim_parser,
)
from sim.determinism import Difference, compare_processes
from sim.listing import listing
from sim.mutants import MUTANTS
from sim.outcome import Outcome, Verdict
from sim.report.documents import to_json, to_junit
from sim.report.page import write_report
from sim.report.progress import Progress
from sim.report.summary import summary
from sim.run import How, Run, run_many, run_one
from sim.scenario import swarm
from sim.scenario.expand import expand
from sim.scenario.flags import fault_from_flag
from sim.scenario.scenario import Scenario, load, seconds
from sim.scenario.schedule import Schedule
from sim.shrink import Shrinker


class CannotRunError(MiniCloudError):
    """The command line asks for what cannot be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `minicloud-sim` with `arguments` (by default the process's) and return the exit code."""
    options = sim_parser().parse_args(arguments)
    # It ends with all that thousands of workers were; to look through that for garbage first took a second.
    atexit.register(gc.freeze)
    try:
        return _main(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HELD
    except (MiniCloudError, OSError) as error:
        print(f"minicloud-sim: {error}", file=sys.stderr)
        return COULD_NOT_RUN


def _main(options: argparse.Namespace) -> int:
    if options.list:
        print(listing())
        return HELD
    if options.mutate and options.mutate not in MUTANTS:
        raise CannotRunError(f"no mutant {options.mutate!r}: --list shows them")
    if options.target:
        from sim.real.main import main_real

        return main_real(options, _schedules(options)[0] if options.scenario or options.replay else None)
    schedules = _schedules(options)
    if options.trace and len(schedules) > 1:
        raise CannotRunError("--trace is for a single run: name one --scenario and one --seed")
    if options.check_determinism:
        return _check_determinism(schedules)
    runs = _run(schedules, options)
    for schedule, (outcome, _) in zip(schedules, runs, strict=True):
        outcome.command = repeated(options, schedule)
    _write(options, schedules, runs)
    outcomes = [outcome for outcome, _ in runs]
    if options.json != "-":
        print("\n".join(summary(outcomes, Paint(sys.stdout))))
    if options.shrink:
        for schedule, outcome in zip(schedules, outcomes, strict=True):
            if outcome.verdict is Verdict.BROKEN:
                _shrink(schedule, outcome, options)
                break
    verdicts = {outcome.verdict for outcome in outcomes}
    if Verdict.BROKEN in verdicts:
        return BROKEN
    return INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else HELD


# What runs


def _schedules(options: argparse.Namespace) -> list[Schedule]:
    if options.replay:
        return [_replayed(options)]
    seeds = options.seeds or (options.seed,)
    names = options.scenario or STANDING
    return [_schedule(name, seed, options) for name in names for seed in seeds]


def _replayed(options: argparse.Namespace) -> Schedule:
    told = (options.scenario, options.fault, options.workers, options.duration, options.seeds, options.depth)
    if any(told):
        raise CannotRunError("--replay runs what its file says: leave the rest of what runs out")
    return Schedule.from_json(Path(options.replay).read_bytes())


def _schedule(name: str, seed: int, options: argparse.Namespace) -> Schedule:
    duration_s = seconds(options.duration, "--duration") if options.duration else None
    if name == swarm.NAME:
        if options.fault:
            raise CannotRunError("swarm draws its faults itself: --fault is for the other scenarios")
        schedule = swarm.swarm(seed, options.workers, duration_s)
    else:
        scenario: Scenario = load(name)
        scenario.faults += tuple(fault_from_flag(text, scenario) for text in options.fault)
        schedule = expand(scenario, seed, options.workers, duration_s)
    if options.depth:
        schedule = replace(schedule, topology=replace(schedule.topology, depth=options.depth))
    return schedule


def _run(schedules: list[Schedule], options: argparse.Namespace) -> list[Run]:
    how = How(options.mutate or "", options.until_failure, Path(options.trace) if options.trace else None)
    progress = Progress(sys.stderr)
    try:
        jobs = options.jobs or os.cpu_count() or 1
        if len(schedules) == 1 or jobs == 1:
            return [run_one(schedule, how, progress.at) for schedule in schedules]
        runs: dict[int, Run] = {}
        broken = 0
        for place, run in run_many(schedules, how, jobs):
            runs[place] = run
            broken += run[0].verdict is Verdict.BROKEN
            progress.over(len(runs), len(schedules), broken)
        return [runs[place] for place in range(len(schedules))]
    finally:
        progress.close()


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


# What is written of it


def _write(options: argparse.Namespace, schedules: list[Schedule], runs: list[Run]) -> None:
    outcomes = [outcome for outcome, _ in runs]
    if options.json == "-":
        sys.stdout.write(to_json(outcomes).decode())
    elif options.json:
        Path(options.json).write_bytes(to_json(outcomes))
    if options.junit:
        Path(options.junit).write_bytes(to_junit(outcomes))
    if options.report:
        folder = Path(options.report)
        page = write_report(folder, runs)
        for schedule in schedules:
            schedule_file(folder, schedule).write_bytes(schedule.to_json())
        print(f"report: {page}", file=sys.stderr)


def schedule_file(folder: Path, schedule: Schedule, what: str = "schedule") -> Path:
    """Where the schedule of a run is written."""
    return folder / f"{schedule.name}-{schedule.seed}-{what}.json"


def _check_determinism(schedules: list[Schedule]) -> int:
    code = HELD
    for schedule in schedules:
        difference = compare_processes(schedule, [*minicloud_command(), "sim"], child_environment(os.environ))
        name = f"{schedule.name}, seed {schedule.seed}"
        if difference is None:
            print(f"{name}: two processes, one trace")
        else:
            print("\n".join(_told(name, difference)))
            code = NOT_DETERMINISTIC
    return code


def _told(name: str, difference: Difference) -> list[str]:
    lines = [f"{name}: NOT DETERMINISTIC: the traces part at event {difference.line}"]
    lines += [f"    {line}" for line in difference.before]
    lines += [f"  1 {line}" for line in difference.first] or ["  1 (ends here)"]
    lines += [f"  2 {line}" for line in difference.second] or ["  2 (ends here)"]
    return lines


def _shrink(schedule: Schedule, outcome: Outcome, options: argparse.Namespace) -> None:
    promise = outcome.violations[0].promise
    how = How(options.mutate or "", until_failure=True)

    def breaks_it(candidate: Schedule) -> bool:
        found, _ = run_one(candidate, how)
        return any(violation.promise == promise for violation in found.violations)

    def tell(line: str) -> None:
        print(f"  {line}", file=sys.stderr)

    print(f"shrinking {schedule.name}, seed {schedule.seed}, which breaks {promise}", file=sys.stderr)
    smallest = Shrinker(schedule, breaks_it, tell).run()
    path = schedule_file(Path(options.report or "."), smallest, "smallest")
    path.write_bytes(smallest.to_json())
    for fault in smallest.faults:
        ends = f" to {fault.end_s:.1f}" if fault.for_s else ""
        options_told = "".join(f" {name}={value}" for name, value in fault.options.items())
        print(f"  {fault.at_s:.1f}{ends} s: {fault.kind} of {', '.join(fault.nodes)}{options_told}")
    command = ["minicloud-sim", "--replay", str(path)]
    if options.mutate:
        command += ["--mutate", options.mutate]
    print(f"the smallest schedule that breaks it: {shlex.join(command)}")
