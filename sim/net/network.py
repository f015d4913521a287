"""The network between nodes: links with a delay in each direction, and the faults that can be on them.

A link carries whole messages. Faults begin and end in any order and may overlap: a link lets messages through
again when the last fault that stops it has ended.

Always holds: a message planned to arrive on a direction that is cut at that moment does not arrive; every
message is counted once as delivered, dropped or held (tests/sim/test_net.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sim.engine.randomness import Streams
from sim.engine.timeline import Call, Timeline
from sim.net.exchanges import ExchangeObserver


@dataclass(frozen=True, slots=True)
class Delay:
    """A time in seconds, drawn uniformly from `low_s` to `high_s`; with probability `tail`, from there up
    to `tail_s`."""

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
    """The numbers of messages by their fate."""

    sent: int = 0
    delivered: int = 0
    dropped: int = 0
    duplicated: int = 0


@dataclass(slots=True)
class Direction:
    """The faults on one direction of a link now. Counts allow for overlaps; probabilities are 0 to 1."""

    cut: int = 0
    held: int = 0
    extra: list[Delay] = field(default_factory=list)
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0  # delayed by up to `OVERTAKEN_S` more, so that later ones pass
    waiting: list[tuple[Call, tuple[Any, ...]]] = field(default_factory=list)


OVERTAKEN_S = 5.0


class Link:
    """A link between a client's node and a server's. `to_server` and `to_client` may be read and changed.

    `reset` breaks the connection that it carries, if any; only `--depth wire` has connections.
    """

    __slots__ = (
        "_chances",
        "_delays",
        "_streams",
        "client",
        "network",
        "reset",
        "server",
        "to_client",
        "to_server",
    )

    def __init__(self, network: Network, client: str, server: str, streams: Streams) -> None:
        self.client = client
        self.server = server
        self.network = network
        self.to_server = Direction()
        self.to_client = Direction()
        self.reset: Callable[[], None] = _nothing
        self._streams = streams
        self._delays = self.stream("delays")
        self._chances: dict[str, Random] = {}

    def stream(self, purpose: str) -> Random:
        """A random stream that only this link draws from."""
        return self._streams.stream(self.client, self.server, purpose)

    def send(self, direction: Direction, call: Call, *args: Any) -> None:
        """Plan `call(*args)` for the arrival of a message that is sent now, unless the message is lost."""
        network = self.network
        network.counts.sent += 1
        delay_s = self.delay_s(direction)
        if direction.cut or (direction.loss and self._chance("loss") < direction.loss):
            network.counts.dropped += 1
            return
        if direction.reordering and self._chance("reordering") < direction.reordering:
            delay_s += self._chance("overtaken") * OVERTAKEN_S
        now_s = network.timeline.now_s
        network.timeline.at(now_s + delay_s, self._arrive, direction, call, args)
        if direction.duplication and self._chance("duplication") < direction.duplication:
            network.counts.duplicated += 1
            again_s = delay_s + self._chance("again") * OVERTAKEN_S
            network.timeline.at(now_s + again_s, self._arrive, direction, call, args)

    def delay_s(self, direction: Direction) -> float:
        """Draw the delay of one message."""
        delay_s = self.network.delay.draw_s(self._delays)
        for extra in direction.extra:
            delay_s += extra.draw_s(self._chance_of("extra"))
        return delay_s

    def release(self, direction: Direction) -> None:
        """Lift one hold. After the last one, held messages arrive in the order in which they would have."""
        assert direction.held > 0, "a hold is lifted once"
        direction.held -= 1
        if not direction.held:
            waiting, direction.waiting = direction.waiting, []
            timeline = self.network.timeline
            for call, args in waiting:
                timeline.at(timeline.now_s, self._arrive, direction, call, args)

    def _arrive(self, direction: Direction, call: Call, args: tuple[Any, ...]) -> None:
        if direction.cut:
            self.network.counts.dropped += 1
            return
        if direction.held:
            direction.waiting.append((call, args))
            return
        self.network.counts.delivered += 1
        call(*args)

    def _chance(self, purpose: str) -> float:
        return self._chance_of(purpose).random()

    def _chance_of(self, purpose: str) -> Random:
        """The stream from which faults of one kind draw, so that one fault more or less does not change
        the others."""
        found = self._chances.get(purpose)
        if found is None:
            found = self._chances[purpose] = self.stream(purpose)
        return found


def _nothing() -> None: ...


class Network:
    """All links, made when first asked for.

    `exchange_observer`, where set, receives every call. Only `--depth messages` has whole messages to report.
    """

    def __init__(self, timeline: Timeline, streams: Streams, delay: Delay = LAN) -> None:
        self.timeline = timeline
        self.delay = delay
        self.counts = Counts()
        self.exchange_observer: ExchangeObserver | None = None
        self._streams = streams
        self._links: dict[tuple[str, str], Link] = {}

    def link(self, client: str, server: str) -> Link:
        """The link from a client's node to a server's."""
        found = self._links.get((client, server))
        if found is None:
            found = self._links[client, server] = Link(self, client, server, self._streams)
        return found

    def links_to(self, server: str) -> list[Link]:
        """The links of a server, in the order in which they were made."""
        return [link for link in self._links.values() if link.server == server]
