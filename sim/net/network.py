"""The network between nodes: links with a delay in each direction, and all that can be wrong with them.

A link carries whole messages. Faults are entered and left in any order and may overlap: a link lets
messages through again when the last of those that stop it has been lifted.

Always holds: a message planned to arrive on a direction that is cut at that moment does not; whatever is
sent is counted once as delivered, dropped or held.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sim.engine.randomness import Streams
from sim.engine.timeline import Call, Timeline


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds, uniformly from `low_s` to `high_s`; with probability `tail`, from there up to `tail_s`."""

    low_s: float
    high_s: float
    tail: float = 0.0
    tail_s: float = 0.0

    def draw_s(self, random: Random) -> float:
        share = random.random()
        if share < self.tail:
            return self.high_s + (self.tail_s - self.high_s) * share / self.tail
        return self.low_s + (self.high_s - self.low_s) * share

    @property
    def most_s(self) -> float:
        return max(self.high_s, self.tail_s if self.tail else 0.0)


LAN = Delay(0.0002, 0.002)


@dataclass(slots=True)
class Counts:
    """What became of messages."""

    sent: int = 0
    delivered: int = 0
    dropped: int = 0
    duplicated: int = 0


@dataclass(slots=True)
class Direction:
    """What is wrong with one direction of a link now. Counted things overlap; probabilities are 0 to 1."""

    cut: int = 0
    held: int = 0
    extra: list[Delay] = field(default_factory=list)
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0  # delayed by up to `_OVERTAKEN_S` more, so that later ones pass
    waiting: list[tuple[Call, tuple[Any, ...]]] = field(default_factory=list)


_OVERTAKEN_S = 5.0


class Link:
    """Between a client's node and a server's. `to_server` and `to_client` may be read and changed."""

    __slots__ = ("_chance", "_delays", "_network", "_timeline", "client", "server", "to_client", "to_server")

    def __init__(self, network: Network, client: str, server: str, delays: Random, chance: Random) -> None:
        self.client = client
        self.server = server
        self.to_server = Direction()
        self.to_client = Direction()
        self._network = network
        self._timeline = network.timeline
        self._delays = delays
        # What faults draw; apart from the delays, so that a fault more or less leaves those as they are.
        self._chance = chance

    def send(self, direction: Direction, call: Call, *args: Any) -> None:
        """Have `call(*args)` happen when, and if, a message sent now arrives."""
        network = self._network
        network.counts.sent += 1
        delay_s = network.delay.draw_s(self._delays)
        if direction.cut:
            network.counts.dropped += 1
            return
        chance = self._chance
        if direction.loss and chance.random() < direction.loss:
            network.counts.dropped += 1
            return
        for extra in direction.extra:
            delay_s += extra.draw_s(chance)
        if direction.reordering and chance.random() < direction.reordering:
            delay_s += chance.random() * _OVERTAKEN_S
        now_s = self._timeline.now_s
        self._timeline.at(now_s + delay_s, self._arrive, direction, call, args)
        if direction.duplication and chance.random() < direction.duplication:
            network.counts.duplicated += 1
            again_s = delay_s + chance.random() * _OVERTAKEN_S
            self._timeline.at(now_s + again_s, self._arrive, direction, call, args)

    def release(self, direction: Direction) -> None:
        """Lift one hold; with the last one, what was held arrives, in the order in which it would have."""
        direction.held -= 1
        if not direction.held:
            waiting, direction.waiting = direction.waiting, []
            for call, args in waiting:
                self._timeline.at(self._timeline.now_s, self._arrive, direction, call, args)

    def _arrive(self, direction: Direction, call: Call, args: tuple[Any, ...]) -> bool:
        if direction.cut:
            self._network.counts.dropped += 1
            return False
        if direction.held:
            direction.waiting.append((call, args))
            return False
        self._network.counts.delivered += 1
        return call(*args)


class Network:
    """All links, made when first asked for."""

    def __init__(self, timeline: Timeline, streams: Streams, delay: Delay = LAN) -> None:
        self.timeline = timeline
        self.delay = delay
        self.counts = Counts()
        self._streams = streams
        self._links: dict[tuple[str, str], Link] = {}

    def link(self, client: str, server: str) -> Link:
        """The link from a client's node to a server's."""
        key = (client, server)
        found = self._links.get(key)
        if found is None:
            delays = self._streams.stream(client, server, "delays")
            chance = self._streams.stream(client, server, "chance")
            found = self._links[key] = Link(self, client, server, delays, chance)
        return found

    def links(self, where: Callable[[str, str], bool] = lambda client, server: True) -> list[Link]:
        """Those for whose nodes `where(client, server)` holds, in the order in which they were made."""
        return [link for (client, server), link in self._links.items() if where(client, server)]
