"""The garbage collector runs in full when that is short, and only then."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from minicloud.app.collector import EVERY_S, MOST_S, Collector


class Machine:
    """A `Machine` is a process whose full collection takes so long for each connection."""

    def __init__(self, connection_s: float) -> None:
        self.connection_s = connection_s
        self.connections = 0
        self.runs = 0
        self.time_s = 0.0

    def collect(self) -> None:
        self.runs += 1
        self.time_s += self.connection_s * (100 + self.connections)

    def collector(self) -> Collector:
        return Collector(lambda: self.connections, collect=self.collect, now_s=lambda: self.time_s)


def test_collection_runs_while_few_connections_are_open_and_not_while_many_are() -> None:
    machine = Machine(connection_s=0.0002)
    collector = machine.collector()
    assert collector.consider()
    machine.connections = 140
    assert collector.consider()
    machine.connections = 5000
    assert not collector.consider()
    machine.connections = 0
    assert collector.consider()
    assert machine.runs == 3


def test_collection_that_took_long_is_not_repeated_while_as_much_is_there() -> None:
    machine = Machine(connection_s=0.001)
    collector = machine.collector()
    assert collector.consider()
    assert machine.time_s > MOST_S
    assert not collector.consider()


async def test_collector_considers_a_run_every_minute(autojump_clock: MockClock) -> None:
    machine = Machine(connection_s=0.0001)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.collector().run)
        await trio.sleep(10.5 * EVERY_S)
        nursery.cancel_scope.cancel()
    assert machine.runs == 10
