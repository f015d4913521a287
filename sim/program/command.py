"""The actions of `minicloud-sim`, chosen by the options of its command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from minicloud.cli.itself import child_environment, minicloud_command
from sim.engine.interruption import Interrupted
from sim.faults.schedule import Schedule
from sim.program.checking import CannotRunError, check_options
from sim.program.cli import BROKEN, HELD, INCONCLUSIVE, MOST_RUNS, NOT_DETERMINISTIC, STANDING
from sim.program.listing import listing, show
from sim.program.pool import RunDiedError, run_many
from sim.program.results import (
    CannotWriteError,
    check_outputs,
    named,
    repeated,
    write_results,
    write_smallest,
)
from sim.program.run import How, Run, run_one
from sim.report.figures import of
from sim.report.progress import Progress
from sim.scenario import swarm
from sim.scenario.expand import expand
from sim.scenario.flags import fault_from_flag
from sim.scenario.replay import read_schedule
from sim.scenario.scenario import load, seconds
from sim.search.determinism import Difference, compare_processes
from sim.search.shrink import Shrinker
from sim.verdict.outcome import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Plan:
    """One run to be made. `source` is the scenario's name or the file that it comes from."""

    source: str
    schedule: Schedule


def run_command(options: argparse.Namespace) -> int:
    """Carry out `options`; return the exit code.

    Raises `MiniCloudError` and `OSError` if it cannot run, and `Interrupted` after the results so far were
    written.
    """
    check_options(options)
    if options.list:
        print(listing())
        return HELD
    if options.show:
        print(show(options.show), end="")
        return HELD
    if options.target:
        from sim.program.target_command import main_real

        named_one = options.scenario or options.replay
        schedule = _plans(options)[0].schedule if named_one else None
        check_outputs(options)
        return main_real(options, schedule)
    plans = _plans(options)
    if options.trace and len(plans) > 1:
        raise CannotRunError("--trace is for a single run: name one --scenario and one --seed")
    check_outputs(options)
    if options.check_determinism:
        return _check_determinism([plan.schedule for plan in plans], options)
    return _simulate(plans, options)


# Which schedules


def _plans(options: argparse.Namespace) -> list[Plan]:
    if options.replay:
        return [Plan(options.replay, read_schedule(options.replay))]
    seeds = options.seeds or (1 if options.seed is None else options.seed,)
    sources = options.scenario or STANDING
    if len(sources) * len(seeds) > MOST_RUNS:
        raise CannotRunError(f"--seeds: makes more than {MOST_RUNS:,} runs: run them in parts")
    for source in sources:
        if sources.count(source) > 1:
            raise CannotRunError(f"--scenario {source} is named twice: leave one out")
    plans = [Plan(source, _schedule(source, seed, options)) for source in sources for seed in seeds]
    by_name: dict[str, str] = {}
    for plan in plans:
        other = by_name.setdefault(plan.schedule.name, plan.source)
        if other != plan.source:
            raise CannotRunError(
                f"--scenario: {other} and {plan.source} both have the name {plan.schedule.name!r}, by which "
                "results go: give one another name"
            )
    return plans


def _schedule(name: str, seed: int, options: argparse.Namespace) -> Schedule:
    duration_s = seconds(options.duration, "--duration") if options.duration else None
    if name == swarm.NAME:
        if options.fault:
            raise CannotRunError("swarm draws its faults itself: --fault is for the other scenarios")
        schedule = swarm.swarm(seed, options.workers, duration_s)
    else:
        scenario = load(name)
        added = tuple(fault_from_flag(text, scenario) for text in options.fault)
        scenario = replace(scenario, faults=(*scenario.faults, *added))
        schedule = expand(scenario, seed, options.workers, duration_s)
    if options.depth:
        schedule = replace(schedule, topology=replace(schedule.topology, depth=options.depth))
    return schedule


# Runs


def _simulate(plans: list[Plan], options: argparse.Namespace) -> int:
    schedules = [plan.schedule for plan in plans]
    runs: dict[int, Run] = {}
    try:
        for place, run in _runs(schedules, options):
            run[0].command = repeated(options, plans[place].source, schedules[place])
            runs[place] = run
    except (Interrupted, RunDiedError, CannotWriteError) as error:
        if runs:
            write_results(options, [(schedules[place], runs[place]) for place in sorted(runs)], whole=False)
        if isinstance(error, Interrupted):
            raise Interrupted(error.number, f"{len(runs)} of {of(len(schedules), 'run')} done") from None
        raise
    write_results(options, [(schedule, runs[place]) for place, schedule in enumerate(schedules)], whole=True)
    outcomes = [runs[place][0] for place in range(len(schedules))]
    if options.shrink:
        for schedule, outcome in zip(schedules, outcomes, strict=True):
            if outcome.verdict is Verdict.BROKEN:
                _shrink(schedule, outcome, options)
                break
    verdicts = {outcome.verdict for outcome in outcomes}
    if Verdict.BROKEN in verdicts:
        return BROKEN
    return INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else HELD


def _runs(schedules: list[Schedule], options: argparse.Namespace) -> Iterator[tuple[int, Run]]:
    """Yield each run with its place, as runs end."""
    how = How(options.mutate or "", options.until_failure, Path(options.trace) if options.trace else None)
    progress = Progress(sys.stderr)
    jobs = options.jobs or os.cpu_count() or 1
    try:
        if len(schedules) == 1 or jobs == 1:
            for place, schedule in enumerate(schedules):
                with named("--trace", options.trace) if options.trace else nullcontext():
                    run = run_one(schedule, how, progress.at)
                yield place, run
            return
        broken = 0
        for done, (place, run) in enumerate(run_many(schedules, how, jobs), start=1):
            yield place, run
            # What is shown as done is kept by now, whenever a signal comes.
            broken += run[0].verdict is Verdict.BROKEN
            progress.over(done, len(schedules), broken)
    finally:
        progress.close()


def _shrink(schedule: Schedule, outcome: Outcome, options: argparse.Namespace) -> None:
    promise = outcome.violations[0].promise
    how = How(options.mutate or "", until_failure=True)

    def breaks_it(candidate: Schedule) -> bool:
        found, _ = run_one(candidate, how)
        return any(violation.promise == promise for violation in found.violations)

    def report(line: str) -> None:
        print(f"  {line}", file=sys.stderr)

    print(f"shrinking {schedule.name}, seed {schedule.seed}, which breaks {promise}", file=sys.stderr)
    shrinker = Shrinker(schedule, breaks_it, report)
    try:
        shrinker.run()
    except Interrupted as error:
        path = write_smallest(options, shrinker.smallest)
        tried = of(shrinker.tries, "run")
        raise Interrupted(error.number, f"the smallest schedule after {tried} is in {path}") from None
    write_smallest(options, shrinker.smallest)


# Determinism


def _check_determinism(schedules: list[Schedule], options: argparse.Namespace) -> int:
    command = [*minicloud_command(), "sim", *(("--mutate", options.mutate) if options.mutate else ())]
    code = HELD
    for number, schedule in enumerate(schedules):
        try:
            difference = compare_processes(schedule, command, child_environment(os.environ))
        except Interrupted as error:
            compared = f"{number} of {of(len(schedules), 'schedule')} compared"
            raise Interrupted(error.number, compared) from None
        name = f"{schedule.name}, seed {schedule.seed}"
        if difference is None:
            print(f"{name}: two processes, one trace", flush=True)
        else:
            print("\n".join(_describe(name, difference)), flush=True)
            code = NOT_DETERMINISTIC
    return code


def _describe(name: str, difference: Difference) -> list[str]:
    lines = [f"{name}: NOT DETERMINISTIC: the traces part at event {difference.line}"]
    lines += [f"    {line}" for line in difference.before]
    lines += [f"  1 {line}" for line in difference.first] or ["  1 (ends here)"]
    lines += [f"  2 {line}" for line in difference.second] or ["  2 (ends here)"]
    return lines
