"""The faults that can be had with real workers and somebody else's control plane.

Each is a context: entered when the fault begins, left when it ends. Cancelled meanwhile, it leaves all as it
is: the run is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import trio

from minicloud.core.errors import MiniCloudError
from sim.faults.effect import number
from sim.faults.schedule import Fault, Schedule
from sim.net.network import Delay
from sim.real.parallel import in_parallel
from sim.real.stub import Way
from sim.real.worker import PREFIX, RealWorker

_AT_ONCE = 100
_WAYS: dict[str, Sequence[Way]] = {
    "both": ("to-server", "to-client"),
    "to-server": ("to-server",),
    "to-client": ("to-client",),
}


class UnsupportedFaultError(MiniCloudError):
    """A schedule has what cannot be done to a real control plane, or to the network before it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault is done to: workers, and the nursery their programs run in. `strike_off` removes what a
    worker is a member under, as an operator."""

    workers: Sequence[RealWorker]
    nursery: trio.Nursery
    strike_off: Callable[[RealWorker], Awaitable[None]]


Effect = Callable[[Scene, Fault], AbstractAsyncContextManager[None]]


def check_supported(schedule: Schedule) -> None:
    """Raises `UnsupportedFaultError` unless all of it can be done."""
    names = frozenset(schedule.topology.worker_names)
    for fault in schedule.faults:
        if fault.kind not in EFFECTS:
            raise UnsupportedFaultError(
                f"{schedule.name}: {fault.kind} cannot be had with --target, where there are "
                f"{', '.join(EFFECTS)} (rolling-restart is crash)"
            )
        others = [name for name in fault.nodes if name not in names]
        if others:
            raise UnsupportedFaultError(
                f"{schedule.name}: {fault.kind} on {others[0]}: with --target faults are on workers only"
            )


def _start(scene: Scene) -> None:
    for worker in scene.workers:
        worker.start(scene.nursery)


@asynccontextmanager
async def _crash(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Programs are killed; they start again, as the installations they were, at the end."""
    for worker in scene.workers:
        worker.kill()
    yield
    _start(scene)


@asynccontextmanager
async def _wipe(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """As `_crash`, and as new installations."""
    for worker in scene.workers:
        worker.kill()
        worker.wipes += 1
    yield
    _start(scene)


@asynccontextmanager
async def _duplicate_id(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Another installation takes each worker's place and wants the id of the worker `of`."""
    for worker in scene.workers:
        worker.kill()
        worker.wipes += 1
        worker.wanted_id = f"{PREFIX}{fault.options['of']}"
    _start(scene)
    yield


@asynccontextmanager
async def _pause(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Programs stand still, and go on at the end."""
    programs = [worker.program for worker in scene.workers if worker.program is not None]
    for program in programs:
        program.pause()
    yield
    for program in programs:
        program.resume()


@asynccontextmanager
async def _delay(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Messages take `low_s` to `high_s` longer, and `tail_s` with probability `tail`."""
    extra = Delay(
        number(fault, "low_s"),
        number(fault, "high_s"),
        number(fault, "tail"),
        number(fault, "tail_s"),
    )
    mine = [(way, extra) for way in _WAYS[str(fault.options.get("direction", "both"))]]
    for worker in scene.workers:
        worker.delays += mine
    yield
    for worker in scene.workers:
        for each in mine:
            worker.delays.remove(each)


@asynccontextmanager
async def _reset(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Connections break: calls under way fail."""
    for worker in scene.workers:
        if worker.program is not None:
            await worker.program.reset()
    yield


@asynccontextmanager
async def _remove(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Workers are struck off, and so made to register again at their next heartbeat."""
    await in_parallel(_AT_ONCE, scene.strike_off, scene.workers)
    yield


EFFECTS: dict[str, Effect] = {
    "crash": _crash,
    "wipe": _wipe,
    "duplicate-id": _duplicate_id,
    "pause": _pause,
    "delay": _delay,
    "reset": _reset,
    "remove": _remove,
}
