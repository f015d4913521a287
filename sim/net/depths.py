"""How deep a simulation goes: what crosses the network between a worker's stub and the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, Protocol

import trio

from sim.engine.clocks import NodeClock
from sim.engine.process import Process
from sim.net.messages import MessageChannel, MessageServer
from sim.net.network import Link, Network
from sim.net.wire import WireChannel, WireServer

DepthName = Literal["messages", "wire"]

SimServer = MessageServer | WireServer
Find = Callable[[], Any]


class SimChannel(Protocol):
    """What a generated stub is made on."""

    def open(self, nursery: trio.Nursery) -> None:
        """Before the first call; its tasks live in `nursery`."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """A call."""


class Depth(Protocol):
    """Makes both ends."""

    def server(
        self,
        process: Process,
        services: Sequence[Any],
        service_time_s: Callable[[], float],
        network: Network,
        random: Random,
    ) -> SimServer:
        """The server of the node on which `process` runs."""
        ...

    def channel(
        self, process: Process, clock: NodeClock, link: Link, find: Find, random: Random
    ) -> SimChannel:
        """A channel from `process` to whatever server `find` answers with."""
        ...


class _Messages:
    def server(
        self,
        process: Process,
        services: Sequence[Any],
        service_time_s: Callable[[], float],
        network: Network,
        random: Random,
    ) -> SimServer:
        return MessageServer(process, services, service_time_s)

    def channel(
        self, process: Process, clock: NodeClock, link: Link, find: Find, random: Random
    ) -> SimChannel:
        return MessageChannel(process, clock, link, find)


class _Wire:
    def server(
        self,
        process: Process,
        services: Sequence[Any],
        service_time_s: Callable[[], float],
        network: Network,
        random: Random,
    ) -> SimServer:
        return WireServer(process, services, service_time_s, lambda: network.links_to(process.name), random)

    def channel(
        self, process: Process, clock: NodeClock, link: Link, find: Find, random: Random
    ) -> SimChannel:
        return WireChannel(process, link, find, random)


DEPTHS: dict[DepthName, Depth] = {"messages": _Messages(), "wire": _Wire()}
