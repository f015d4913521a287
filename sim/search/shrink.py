"""Shrinks a schedule that breaks a promise to the smallest one that still breaks it.

It reduces faults first, by delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing
Input, 2002), then workers, then time. Each try is a run of its own. The random choices of one fault or worker
do not depend on the others, so a smaller schedule is the same run with less in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sim.faults.schedule import Fault, Schedule

MOST_TRIES = 300

# Whether a schedule still breaks the promise.
Fails = Callable[[Schedule], bool]


class _TriesUsedUpError(Exception):
    """`MOST_TRIES` runs have been made."""


class Shrinker:
    """Shrinks `schedule`, of which `fails` holds. `smallest` is the best so far, at any time."""

    def __init__(
        self, schedule: Schedule, fails: Fails, report: Callable[[str], None] = lambda line: None
    ) -> None:
        self.smallest = schedule
        self.tries = 0
        self._fails = fails
        self._report = report

    def run(self) -> Schedule:
        """The smallest schedule found; each fault in it is needed, unless the tries ran out."""
        try:
            self._fewer_faults()
            self._fewer_workers()
            self._fewer_faults()
            self._less_time()
        except _TriesUsedUpError:
            self._report(f"stopped after {MOST_TRIES} runs")
        return self.smallest

    def _try(self, candidate: Schedule) -> bool:
        """Make `candidate` the smallest if it fails."""
        if self.tries >= MOST_TRIES:
            raise _TriesUsedUpError
        self.tries += 1
        if not self._fails(candidate):
            return False
        self.smallest = candidate
        self._report(describe(candidate))
        return True

    def _fewer_faults(self) -> None:
        if not self.smallest.faults or self._try(self.smallest.with_faults(())):
            return
        parts = 2
        while len(self.smallest.faults) >= 2:
            faults = self.smallest.faults
            chunks = _chunks(faults, parts)
            for number in range(len(chunks)):
                rest = tuple(fault for chunk in (*chunks[:number], *chunks[number + 1 :]) for fault in chunk)
                if self._try(self.smallest.with_faults(rest)):
                    parts = max(2, parts - 1)
                    break
            else:
                if parts >= len(faults):
                    return
                parts = min(len(faults), 2 * parts)

    def _fewer_workers(self) -> None:
        """Halve the workers while that fails, then search between the last two numbers."""
        good, bad = 0, self.smallest.topology.workers  # too few to fail; enough
        wanted = bad // 2
        while good + 1 < bad and wanted > good:
            if self._try(_with_workers(self.smallest, wanted)):
                bad = wanted
            else:
                good = wanted
            wanted = (good + bad) // 2

    def _less_time(self) -> None:
        """End the chaos with the last fault, then try shorter faults and a shorter check."""
        schedule = self.smallest
        last_s = max((fault.end_s for fault in schedule.faults), default=schedule.phases.setup_s)
        phases = schedule.phases
        self._try(replace(schedule, phases=replace(phases, chaos_s=max(0.0, last_s - phases.setup_s))))
        for number in range(len(self.smallest.faults)):
            self._shorter_fault(number)
        for check_s in (phases.check_s / 4, phases.check_s / 2):
            if self._try(replace(self.smallest, phases=replace(self.smallest.phases, check_s=check_s))):
                break

    def _shorter_fault(self, number: int) -> None:
        while self.smallest.faults[number].for_s > 1.0:
            faults = list(self.smallest.faults)
            faults[number] = replace(faults[number], for_s=round(faults[number].for_s / 2, 3))
            if not self._try(self.smallest.with_faults(tuple(faults))):
                return


def describe(schedule: Schedule) -> str:
    """A schedule's size in a line."""
    faults, workers = len(schedule.faults), schedule.topology.workers
    return f"{faults} faults, {workers} workers, {schedule.phases.end_s:.0f} s virtual"


def _chunks(faults: Sequence[Fault], parts: int) -> list[Sequence[Fault]]:
    size, more = divmod(len(faults), parts)
    chunks = []
    start = 0
    for number in range(parts):
        end = start + size + (number < more)
        chunks.append(faults[start:end])
        start = end
    return [chunk for chunk in chunks if chunk]


def _with_workers(schedule: Schedule, workers: int) -> Schedule:
    """`schedule` with the first `workers` workers only; faults on nobody are left out."""
    topology = replace(
        schedule.topology, workers=workers, duplicates=min(schedule.topology.duplicates, workers // 2)
    )
    names = {*topology.worker_names, "control-plane"}
    faults = []
    for fault in schedule.faults:
        nodes = tuple(node for node in fault.nodes if node in names)
        if nodes and str(fault.options.get("of", "worker-0")) in names:
            faults.append(replace(fault, nodes=nodes))
    return replace(schedule, topology=topology, faults=tuple(faults))
