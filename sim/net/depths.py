"""The depths of a simulation: messages or bytes cross the network between a worker's stub and the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

from sim.engine.clocks import NodeClock
from sim.engine.process import Process
from sim.net.messages import MessageChannel, MessageServer
from sim.net.network import Link, Network
from sim.net.wire import WireChannel, WireServer

DepthName = Literal["messages", "wire"]

SimServer = MessageServer | WireServer
SimChannel = MessageChannel | WireChannel


def make_server(
    depth: DepthName,
    process: Process,
    services: Sequence[Any],
    service_time_s: Callable[[], float],
    network: Network,
    random: Random,
) -> SimServer:
    """The server of the node on which `process` runs."""
    if depth == "wire":
        return WireServer(process, services, service_time_s, lambda: network.links_to(process.name), random)
    return MessageServer(process, services, service_time_s)


def make_channel(
    depth: DepthName,
    process: Process,
    clock: NodeClock,
    link: Link,
    find: Callable[[], Any],
    random: Callable[[], Random],
) -> SimChannel:
    """Make a channel from `process` to the server that `find` returns; `random` makes its generator."""
    if depth == "wire":
        return WireChannel(process, link, find, random())
    return MessageChannel(process, clock, link, find)
