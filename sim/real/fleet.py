"""A fleet of workers at somebody's control plane: it starts over a ramp, suffers the faults of a schedule,
and leaves.

It opens no socket and handles no signal: `connect` makes its connections. Always holds: when `run` returns
all programs have ended, and every id has been given back for which there was time and an answer
(tests/sim/test_real.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import trio
from grpclib.exceptions import GRPCError

from minicloud.wire.gen.minicloud.execution import DeregisterWorkerRequest, WorkerManagementServiceStub
from sim.faults.kinds import KINDS, REAL
from sim.faults.real import Scene
from sim.faults.schedule import Fault, Schedule
from sim.real.figures import Figures, Method
from sim.real.ledger import Ledger
from sim.real.outcome import RealOutcome
from sim.real.parallel import in_parallel
from sim.real.worker import Connect, RealWorker, Site

_REPORT_EVERY_S = 1.0
_OPERATORS_CALL_S = 10.0
_STRIKE_OFF_AT_ONCE = 100

# If all workers left at once, the load would be unlike that of ordinary days.
_LEAVE_AT_ONCE = 20
_LEAVE_AT_ONCE_INTERRUPTED = 200  # where a person waits
_LEAVE_S, _LEAVE_S_EACH = 10.0, 0.02


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of a run. The rate is that since the moment before."""

    elapsed_s: float
    end_s: float
    ramp_over: bool
    leaving: bool
    workers: int
    registered: int
    heartbeats_per_second: float
    errors: int
    violations: int
    p50_s: float  # of heartbeats, since the start
    p99_s: float
    faults: tuple[str, ...]  # the kinds that last


class Fleet:
    """The workers of `schedule` at `address`, to which `connect` makes a connection; `run` it once.

    `operator` strikes workers off, on a connection of its own. `run_id` distinguishes the installations of
    this run from those of others. `report` is called each second.
    """

    def __init__(
        self,
        schedule: Schedule,
        address: str,
        connect: Connect,
        operator: WorkerManagementServiceStub,
        *,
        random: Random,
        run_id: str,
        ramp_s: float,
        report: Callable[[Moment], None] = lambda moment: None,
    ) -> None:
        self.figures = Figures()
        self._schedule = schedule
        self._operator = operator
        self._ramp_s = ramp_s
        self._report = report
        self._ledger = Ledger(self.figures, self._elapsed_s)
        site = Site(connect, address, self.figures, self._ledger, random, self._elapsed_s, run_id)
        self._workers = {worker.name: worker for worker in _workers(schedule, site)}
        self._outcome = RealOutcome(schedule.name, schedule.seed, len(self._workers), address)
        self._story = trio.CancelScope()
        self._everything = trio.CancelScope()
        self._started_s = 0.0
        self._ramp_over = False
        self._leaving = False
        self._heartbeats_in_ramp = 0
        self._heartbeats_reported = 0
        self._faults: Counter[str] = Counter()

    async def run(self) -> RealOutcome:
        """Start, suffer the faults, and leave; return the outcome."""
        self._started_s = trio.current_time()
        with self._everything:
            async with trio.open_nursery() as programs:
                async with trio.open_nursery() as reporting:
                    reporting.start_soon(self._report_for_ever)
                    with self._story:
                        await self._live(programs)
                    self._sum_up()
                    await self._leave()
                    reporting.cancel_scope.cancel()
                programs.cancel_scope.cancel()
        self._outcome.left_registered = len(self._ledger.held)
        self.figures.fill(self._outcome)
        return self._outcome

    def stop(self) -> None:
        """End the run, so that workers leave. A second call ends at once."""
        if self._outcome.interrupted or self._leaving:
            self._everything.cancel()
        self._outcome.interrupted = True
        self._story.cancel()

    async def _live(self, programs: trio.Nursery) -> None:
        async with trio.open_nursery() as nursery:
            for fault in self._schedule.faults:
                nursery.start_soon(self._suffer, fault, programs)
            nursery.start_soon(self._start, programs)
            await trio.sleep_until(self._started_s + self._schedule.phases.end_s)
            nursery.cancel_scope.cancel()

    async def _start(self, programs: trio.Nursery) -> None:
        for number, worker in enumerate(self._workers.values()):
            await trio.sleep_until(self._started_s + self._ramp_s * number / len(self._workers))
            worker.start(programs)
        self._ramp_over = True
        self._heartbeats_in_ramp = self.figures.heartbeats

    async def _suffer(self, fault: Fault, programs: trio.Nursery) -> None:
        workers = [self._workers[name] for name in fault.nodes]
        scene = Scene(workers, programs, lambda: in_parallel(_STRIKE_OFF_AT_ONCE, self._strike_off, workers))
        await trio.sleep_until(self._started_s + fault.at_s)
        for worker in workers:
            worker.begin_trouble()
        self._faults[fault.kind] += 1
        async with REAL[fault.kind](scene, KINDS[fault.kind].complete(fault)):
            await trio.sleep_until(self._started_s + fault.end_s)
        self._faults[fault.kind] -= 1
        for worker in workers:
            worker.end_trouble()

    # Leaving

    async def _leave(self) -> None:
        self._leaving = True
        running = [worker for worker in self._workers.values() if worker.program is not None]
        at_once = _LEAVE_AT_ONCE_INTERRUPTED if self._outcome.interrupted else _LEAVE_AT_ONCE
        with trio.move_on_after(_LEAVE_S + _LEAVE_S_EACH * len(self._workers)):
            await in_parallel(at_once, _stop, running)
            # The ids of workers that crashed for good, lost their disk, or got no answer.
            await in_parallel(at_once, self._give_back, list(self._ledger.held))

    async def _give_back(self, worker_id: str) -> None:
        # By its incarnation: somebody else may have taken it over.
        if await self._deregister(worker_id, self._ledger.held[worker_id].incarnation):
            self._ledger.taken_back(worker_id)

    async def _strike_off(self, worker: RealWorker) -> None:
        worker_id = worker.program.worker_id if worker.program is not None else ""
        if worker_id:
            # At once: before the answer comes it may have been given again.
            self._ledger.taken_back(worker_id)
            await self._deregister(worker_id, incarnation=0)

    async def _deregister(self, worker_id: str, incarnation: int) -> bool:
        """Deregister a worker; return true if the call was answered."""
        request = DeregisterWorkerRequest(
            worker_id=worker_id, reason="removed by minicloud-sim", incarnation=incarnation
        )
        try:
            await self._operator.deregister_worker(request, timeout=_OPERATORS_CALL_S)
        except GRPCError as error:
            self.figures.failed(Method.DEREGISTER, error.status.name, expected=False)
            return False
        return True

    # Figures

    async def _report_for_ever(self) -> None:
        while True:
            self._report(self._moment())
            await trio.sleep(_REPORT_EVERY_S)

    def _moment(self) -> Moment:
        figures = self.figures
        heartbeats, self._heartbeats_reported = (
            figures.heartbeats - self._heartbeats_reported,
            figures.heartbeats,
        )
        latency = figures.latencies[Method.HEARTBEAT]
        return Moment(
            self._elapsed_s(),
            self._schedule.phases.end_s,
            self._ramp_over,
            self._leaving,
            len(self._workers),
            self._registered(),
            heartbeats / _REPORT_EVERY_S,
            figures.errors.total(),
            figures.violations_total,
            latency.percentile_s(0.5),
            latency.percentile_s(0.99),
            tuple(kind for kind, lasting in self._faults.items() if lasting),
        )

    def _registered(self) -> int:
        return sum(
            worker.program is not None and worker.program.worker_id != "" for worker in self._workers.values()
        )

    def _sum_up(self) -> None:
        """Write the figures of the time before leaving."""
        outcome, figures = self._outcome, self.figures
        outcome.wall_seconds = round(self._elapsed_s(), 3)
        outcome.expected = sum(worker.program is not None for worker in self._workers.values())
        outcome.registered = self._registered()
        steady_s = outcome.wall_seconds - self._ramp_s
        if self._ramp_over and steady_s > 0:
            steady = figures.heartbeats - self._heartbeats_in_ramp
            outcome.heartbeats_per_second = round(steady / steady_s, 1)

    def _elapsed_s(self) -> float:
        return trio.current_time() - self._started_s


def _workers(schedule: Schedule, site: Site) -> list[RealWorker]:
    topology = schedule.topology
    names = topology.worker_names
    first_duplicate = topology.workers - topology.duplicates
    return [
        RealWorker(
            site,
            name,
            names[number - first_duplicate if number >= first_duplicate else number],
            topology.zone_of(number),
        )
        for number, name in enumerate(names)
    ]


async def _stop(worker: RealWorker) -> None:
    if worker.program is not None:
        ended = worker.program.ended
        worker.program.stop()
        await ended.wait()
