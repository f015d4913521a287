"""A simulated machine: its clock, disk and address stay while programs come and go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import trio

from sim.engine.clocks import NodeClock
from sim.engine.process import Process
from sim.engine.randomness import Streams
from sim.net.depths import DepthName
from sim.net.network import Network


class Run(Protocol):
    """One run of a program, from its start to its end."""

    process: Process

    async def main(self) -> None:
        """Run the program to its end."""


RunT = TypeVar("RunT", bound=Run)


class Node(ABC, Generic[RunT]):
    """The common part of the machines of control planes and of workers."""

    def __init__(
        self,
        name: str,
        network: Network,
        depth: DepthName,
        streams: Streams,
        clock: NodeClock,
    ) -> None:
        self.name = name
        self.network = network
        self.depth = depth
        self.timeline = network.timeline
        self.streams = streams
        self.clock = clock
        self.starts = 0
        self.run: RunT | None = None  # the present one, or the last

    @property
    def alive(self) -> bool:
        """True while its program runs, also while that is paused."""
        return self.run is not None and self.run.process.alive

    def start(self, nursery: trio.Nursery) -> None:
        """Start the program, unless it runs."""
        if not self.alive:
            self.starts += 1
            self.run = self._new_run()
            nursery.start_soon(self.run.main)

    def kill(self) -> None:
        """Lose power."""
        if self.run is not None and self.run.process.alive:
            self.run.process.kill()

    @abstractmethod
    def wipe(self) -> None:
        """Replace the disk with an empty one."""

    @abstractmethod
    def _new_run(self) -> RunT: ...
