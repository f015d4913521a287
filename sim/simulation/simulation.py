"""One run of a schedule, from an empty cluster to the final check."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import structlog
import trio

from sim.cluster.cluster import Cluster
from sim.cluster.observer import ClusterObserver
from sim.engine.loop import run_virtually
from sim.engine.randomness import Streams
from sim.engine.timeline import Timeline
from sim.faults.kinds import KINDS
from sim.faults.schedule import Fault, Schedule


class SimulationObserver(ClusterObserver):
    """Receives the events of a whole run. A subclass overrides the methods that it needs."""

    def begins(self, simulation: Simulation) -> None:
        """The cluster has been made; nothing runs yet."""

    def fault_began(self, fault: Fault) -> None:
        """A fault has begun; called in the step after its effect."""

    def fault_ended(self, fault: Fault) -> None:
        """A fault has ended; called in the step after its undoing."""

    def healed(self) -> None:
        """Every fault has ended."""

    async def check(self) -> None:
        """The run is over, and everything still runs; this method may talk to it."""


class Simulation:
    """One run of `schedule`: `run` it once. `progress`, if set, is called each virtual second."""

    def __init__(self, schedule: Schedule, observers: Sequence[SimulationObserver]) -> None:
        self.schedule = schedule
        self.timeline = Timeline()
        self.streams = Streams(schedule.seed)
        self.cluster = Cluster(schedule.topology, self.timeline, self.streams, observers)
        self.progress: Callable[[], None] | None = None
        self._watchers = observers
        self._over = trio.Event()

    def run(self) -> None:
        """Run to the end. Raises errors of the simulator's own code; errors of the production code are
        left to observers."""
        # The log of thousands of workers costs a third of a run, and is of no use.
        logged = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            run_virtually(self._main, self.timeline, self.schedule.seed)
        finally:
            structlog.configure(**logged)

    def stop(self) -> None:
        """End the run now; the observers still `check`."""
        self._over.set()

    async def _main(self) -> None:
        for observer in self._watchers:
            observer.begins(self)
        phases = self.schedule.phases
        for fault in self.schedule.faults:
            self.timeline.at(fault.at_s, self._begin, fault)
        self.timeline.at(phases.heal_s, self._heal)
        self.timeline.at(phases.end_s, self.stop)
        if self.progress is not None:
            self._report_progress()
        async with trio.open_nursery() as nursery:
            self.cluster.start(nursery)
            await self._over.wait()
            for observer in self._watchers:
                await observer.check()
            self.timeline.clear()
            nursery.cancel_scope.cancel()
        self.timeline.clear()  # of what was planned on the way out

    # Each is an event of the timeline.

    def _begin(self, fault: Fault) -> None:
        kind = KINDS[fault.kind]
        assert kind.effect is not None, f"{fault.kind} is a pattern, of which a schedule has the parts"
        undo = kind.effect(self.cluster, kind.complete(fault))
        for observer in self._watchers:
            observer.fault_began(fault)
        if fault.for_s:
            self.timeline.at(fault.end_s, self._undo, fault, undo)
        else:
            undo()

    def _undo(self, fault: Fault, undo: Callable[[], None]) -> None:
        undo()
        for observer in self._watchers:
            observer.fault_ended(fault)

    def _heal(self) -> None:
        for observer in self._watchers:
            observer.healed()

    def _report_progress(self) -> None:
        assert self.progress is not None
        self.progress()
        self.timeline.at(self.timeline.now_s + 1.0, self._report_progress)
