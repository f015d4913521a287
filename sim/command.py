"""What `minicloud-sim` does with the options of its command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from minicloud.cli.itself import child_environment, minicloud_command
from minicloud.core.errors import MiniCloudError
from sim.cli import BROKEN, HELD, INCONCLUSIVE, NOT_DETERMINISTIC, STANDING
from sim.determinism import Difference, compare_processes
from sim.engine.interruption import Interrupted
from sim.listing import listing, show
from sim.mutants import MUTANTS
from sim.outcome import Outcome, Verdict
from sim.pool import RunDiedError, run_many
from sim.report.figures import of
from sim.report.progress import Progress
from sim.results import repeated, write_results, write_smallest
from sim.run import How, Run, run_one
from sim.scenario import swarm
from sim.scenario.expand import expand
from sim.scenario.flags import fault_from_flag
from sim.scenario.replay import read_schedule
from sim.scenario.scenario import load, seconds
from sim.scenario.schedule import Schedule
from sim.scenario.values import suggestion
from sim.shrink import Shrinker


class CannotRunError(MiniCloudError):
    """The command line asks for what cannot be."""


def run_command(options: argparse.Namespace) -> int:
    """Do what `options` say; the exit code. Raises `MiniCloudError` and `OSError` for what cannot run, and
    `Interrupted`, having kept what there was to keep."""
    if options.list:
        print(listing())
        return HELD
    if options.show:
        print(show(options.show), end="")
        return HELD
    if options.mutate and options.mutate not in MUTANTS:
        raise CannotRunError(f"no mutant {options.mutate!r}: {suggestion(options.mutate, list(MUTANTS))}")
    if options.target:
        from sim.real.main import main_real

        return main_real(options, _schedules(options)[0] if options.scenario or options.replay else None)
    schedules = _schedules(options)
    if options.trace and len(schedules) > 1:
        raise CannotRunError("--trace is for a single run: name one --scenario and one --seed")
    if options.check_determinism:
        return _check_determinism(schedules)
    return _simulate(schedules, options)


# Which schedules


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
    return read_schedule(options.replay)


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


def _simulate(schedules: list[Schedule], options: argparse.Namespace) -> int:
    runs: dict[int, Run] = {}
    try:
        for place, run in _runs(schedules, options):
            run[0].command = repeated(options, schedules[place])
            runs[place] = run
    except (Interrupted, RunDiedError) as error:
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
    """Each run with its place, as they end."""
    how = How(options.mutate or "", options.until_failure, Path(options.trace) if options.trace else None)
    progress = Progress(sys.stderr)
    jobs = options.jobs or os.cpu_count() or 1
    try:
        if len(schedules) == 1 or jobs == 1:
            for place, schedule in enumerate(schedules):
                yield place, run_one(schedule, how, progress.at)
            return
        broken = 0
        for done, (place, run) in enumerate(run_many(schedules, how, jobs), start=1):
            broken += run[0].verdict is Verdict.BROKEN
            progress.over(done, len(schedules), broken)
            yield place, run
    finally:
        progress.close()


def _shrink(schedule: Schedule, outcome: Outcome, options: argparse.Namespace) -> None:
    promise = outcome.violations[0].promise
    how = How(options.mutate or "", until_failure=True)

    def breaks_it(candidate: Schedule) -> bool:
        found, _ = run_one(candidate, how)
        return any(violation.promise == promise for violation in found.violations)

    def tell(line: str) -> None:
        print(f"  {line}", file=sys.stderr)

    print(f"shrinking {schedule.name}, seed {schedule.seed}, which breaks {promise}", file=sys.stderr)
    shrinker = Shrinker(schedule, breaks_it, tell)
    try:
        shrinker.run()
    except Interrupted as error:
        path = write_smallest(options, shrinker.smallest)
        tried = of(shrinker.tries, "run")
        raise Interrupted(error.number, f"the smallest schedule after {tried} is in {path}") from None
    write_smallest(options, shrinker.smallest)


# Determinism


def _check_determinism(schedules: list[Schedule]) -> int:
    code = HELD
    for number, schedule in enumerate(schedules):
        try:
            difference = compare_processes(
                schedule, [*minicloud_command(), "sim"], child_environment(os.environ)
            )
        except Interrupted as error:
            compared = f"{number} of {of(len(schedules), 'schedule')} compared"
            raise Interrupted(error.number, compared) from None
        name = f"{schedule.name}, seed {schedule.seed}"
        if difference is None:
            print(f"{name}: two processes, one trace", flush=True)
        else:
            print("\n".join(_told(name, difference)), flush=True)
            code = NOT_DETERMINISTIC
    return code


def _told(name: str, difference: Difference) -> list[str]:
    lines = [f"{name}: NOT DETERMINISTIC: the traces part at event {difference.line}"]
    lines += [f"    {line}" for line in difference.before]
    lines += [f"  1 {line}" for line in difference.first] or ["  1 (ends here)"]
    lines += [f"  2 {line}" for line in difference.second] or ["  2 (ends here)"]
    return lines
