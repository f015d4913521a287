"""One run against a real control plane: sockets, signals and the machine, around a fleet."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable
from random import Random

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.rpc.channel import open_channel
from minicloud.wire.gen.minicloud.execution import ListWorkersRequest, WorkerManagementServiceStub
from minicloud.worker.control_plane_client import TO_CONTROL_PLANE
from sim.engine.interruption import ENDING, Interrupted
from sim.faults.schedule import Schedule
from sim.real.faults import check_supported
from sim.real.fleet import Fleet, Moment
from sim.real.outcome import RealOutcome
from sim.real.target import RealModeError, Target
from sim.real.usage import own_usage, usage_of_listener

_FIRST_ANSWER_S = 10.0
# A person who interrupts a run waits no longer; workers that are still registered then become UNHEALTHY.
_LEAVE_WHEN_INTERRUPTED_S = 0.6


async def run_real(
    schedule: Schedule, target: Target, *, ramp_s: float, report: Callable[[Moment], None]
) -> RealOutcome:
    """Run `schedule` at `target`, in real time, its workers starting over `ramp_s`; `report` is called each
    second.

    A signal to end begins the end of the run, in which workers deregister for at most 0.6 s. Raises
    `UnsupportedFaultError` for a fault that cannot be done there, `RealModeError` if the target is no control
    plane, and `Interrupted` for a signal before the first worker has started.
    """
    outcome = None
    with trio.open_signal_receiver(*_handled()) as signals:
        interruption = _Interruption(signals)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interruption.wait)
            with interruption.scope:
                outcome = await _run(schedule, target, interruption, ramp_s=ramp_s, report=report)
            nursery.cancel_scope.cancel()
    if outcome is None:
        raise Interrupted(interruption.number, "no worker had started")
    outcome.signal = interruption.number
    return outcome


class _Interruption:
    """Passes a signal on to the fleet, once there is one; before that it cancels `scope`."""

    def __init__(self, signals: AsyncIterator[int]) -> None:
        self.number = 0
        self.scope = trio.CancelScope()
        self.fleet: Fleet | None = None
        self._signals = signals

    async def wait(self) -> None:
        """Obey the first signal; the run is ending then, and later ones change nothing."""
        async for number in self._signals:
            self.number = number
            break
        if self.fleet is None:
            self.scope.cancel()
            return
        self.fleet.stop()
        await trio.sleep(_LEAVE_WHEN_INTERRUPTED_S)
        self.fleet.stop()


def _handled() -> list[signal.Signals]:
    """The ending signals that the process was not started to ignore."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


async def _run(
    schedule: Schedule,
    target: Target,
    interruption: _Interruption,
    *,
    ramp_s: float,
    report: Callable[[Moment], None],
) -> RealOutcome:
    check_supported(schedule)
    random = Random(os.urandom(16))
    addresses = [(target.host, target.port)]
    own = own_usage(trio.current_time())
    theirs = usage_of_listener(target.host, target.port, trio.current_time())

    growing = True

    def sample(moment: Moment) -> None:
        nonlocal growing
        for usage in (own, theirs):
            if usage is not None and not moment.leaving:
                usage.sample(trio.current_time(), ramp_over=moment.ramp_over)
        if growing and not moment.leaving:
            _settle()
        growing = not moment.ramp_over
        report(moment)

    async def connect() -> trio.abc.Stream:
        return await trio.open_tcp_stream(target.host, target.port)

    async with open_channel(addresses, random=random, config=TO_CONTROL_PLANE) as channel:
        operator = channel.stub(WorkerManagementServiceStub)
        await _check_answers(operator, target)
        fleet = Fleet(
            schedule,
            target.address,
            connect,
            operator,
            random=random,
            run_id=f"{random.getrandbits(32):08x}",
            ramp_s=ramp_s,
            report=sample,
        )
        interruption.fleet = fleet
        try:
            outcome = await fleet.run()
        finally:
            gc.unfreeze()
    outcome.own_load = own.load()
    outcome.control_plane_load = theirs.load() if theirs is not None else None
    return outcome


def _settle() -> None:
    """Exclude all present objects from garbage collection.

    Thousands of workers are millions of objects that stay. Scanning all of them took 2.6 s, and again
    whenever a quarter as many had come and gone: three quarters of a run's CPU time, and calls waited.
    """
    gc.collect(1)
    gc.freeze()


async def _check_answers(operator: WorkerManagementServiceStub, target: Target) -> None:
    try:
        await operator.list_workers(ListWorkersRequest(limit=1), timeout=_FIRST_ANSWER_S)
    except GRPCError as error:
        what = "not a control plane" if error.status is Status.UNIMPLEMENTED else error.status.name
        raise RealModeError(
            f"--target {target.address}: {what} ({error.message}): name the gRPC port of a control plane"
        ) from None
