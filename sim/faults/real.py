"""The effects of faults on real workers and somebody else's control plane.

Each effect is an async context: entered when the fault begins, left when it ends. Where it is cancelled in
between it undoes nothing, as the run is over. The fault that it receives has a value for each option of its
kind (`FaultKind.complete`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import trio

from sim.faults.effect import number
from sim.faults.schedule import Fault
from sim.net.network import Delay

Way = Literal["to-server", "to-client"]

_WAYS: dict[str, Sequence[Way]] = {
    "both": ("to-server", "to-client"),
    "to-server": ("to-server",),
    "to-client": ("to-client",),
}


class RealProgram(Protocol):
    """One run of a worker's program."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def reset(self) -> None:
        """Break its connection."""


class RealMachine(Protocol):
    """A machine on which programs of a worker come and go."""

    delays: list[tuple[Way, Delay]]  # of its messages

    @property
    def running(self) -> RealProgram | None:
        """The program that runs now."""

    def start(self, nursery: trio.Nursery) -> None:
        """Start the program, unless it runs."""

    def kill(self) -> None:
        """End the program as SIGKILL does."""

    def wipe(self) -> None:
        """Replace the disk with an empty one, and the identity with it."""

    def want_id_of(self, name: str) -> None:
        """Have the next program want the id of the worker `name`."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The workers that a fault is on, and the nursery that their programs run in.

    `strike_off` removes them from the cluster as an operator does.
    """

    workers: Sequence[RealMachine]
    nursery: trio.Nursery
    strike_off: Callable[[], Awaitable[None]]

    def start(self) -> None:
        """Start the program of every worker that has none."""
        for worker in self.workers:
            worker.start(self.nursery)


RealEffect = Callable[[Scene, Fault], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def crash(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Kill programs, and start them again as the same installations at the end."""
    for worker in scene.workers:
        worker.kill()
    yield
    scene.start()


@asynccontextmanager
async def wipe(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Kill programs, and start them again as new installations at the end."""
    for worker in scene.workers:
        worker.kill()
        worker.wipe()
    yield
    scene.start()


@asynccontextmanager
async def duplicate_id(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Replace each worker with another installation that wants the id of the worker `of`."""
    for worker in scene.workers:
        worker.kill()
        worker.wipe()
        worker.want_id_of(str(fault.options["of"]))
    scene.start()
    yield


@asynccontextmanager
async def pause(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Stop programs, and resume them at the end."""
    programs = [worker.running for worker in scene.workers if worker.running is not None]
    for program in programs:
        program.pause()
    yield
    for program in programs:
        program.resume()


@asynccontextmanager
async def delay(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Delay messages by `low_s` to `high_s`, and by up to `tail_s` with probability `tail`."""
    extra = Delay(
        number(fault, "low_s"),
        number(fault, "high_s"),
        number(fault, "tail"),
        number(fault, "tail_s"),
    )
    mine = [(way, extra) for way in _WAYS[str(fault.options["direction"])]]
    for worker in scene.workers:
        worker.delays += mine
    yield
    for worker in scene.workers:
        for each in mine:
            worker.delays.remove(each)


@asynccontextmanager
async def reset(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Break connections: calls under way fail."""
    for worker in scene.workers:
        if worker.running is not None:
            await worker.running.reset()
    yield


@asynccontextmanager
async def remove(scene: Scene, fault: Fault) -> AsyncIterator[None]:
    """Strike workers off, so that they register again at their next heartbeat."""
    await scene.strike_off()
    yield
