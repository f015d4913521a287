"""The last calls of each node, while they are on their way and after.

Kept as bare numbers in arrays: as objects, tens of thousands of them cost the run a tenth of its speed, as
the garbage collector and the processor's cache meet each of them again and again.

Always holds: the size depends on the number of nodes alone.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from sim.net.journal import ANSWERED, ARRIVED, RETURNED

# A call's numbers: when it was sent, and when it came to each step, twice; 0 where it has not.
_SENT = 0
_STEPS = {ARRIVED: 1, ANSWERED: 3, RETURNED: 5}
_WIDTH = 7


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call between two nodes: the steps it has come to, with their times, and the status of its answer."""

    client: str
    server: str
    route: str
    sent_s: float
    steps: tuple[tuple[str, float], ...] = ()
    status: str = ""


class LastCalls:
    """Up to `per_node` of each client."""

    def __init__(self, per_node: int) -> None:
        self._per_node = per_node
        self._nodes: dict[str, int] = {}  # where a client's calls begin, by name
        self._sent = array("L")  # by client: how many
        self._numbers = array("Q")  # by slot: of the call that is there; 0 for none
        self._times = array("d")  # by slot: `_WIDTH` of them
        self._kinds = array("L")  # by slot: which of `_names`
        self._statuses = array("L")  # by slot: which of `_names`
        self._names: dict[object, int] = {"": 0}
        self._last = 0

    def add(self, client: str, server: str, route: str, now_s: float) -> int:
        """A call is sent; answers with its number."""
        node = self._nodes.get(client)
        if node is None:
            node = self._add_node(client)
        slot = node * self._per_node + self._sent[node] % self._per_node
        self._sent[node] += 1
        self._last += 1
        self._numbers[slot] = number = self._last << 32 | slot
        at = slot * _WIDTH
        self._times[at : at + _WIDTH] = _NEW
        self._times[at] = now_s
        self._kinds[slot] = self._named((server, route))
        self._statuses[slot] = 0
        return number

    def step(self, number: int, name: str, status: str, now_s: float) -> None:
        """A call has come to a step. One that later calls have taken the place of is passed over."""
        slot = number & 0xFFFF_FFFF
        if self._numbers[slot] != number:
            return
        at = slot * _WIDTH + _STEPS[name]
        if self._times[at]:
            at += 1
        self._times[at] = now_s
        if status:
            self._statuses[slot] = self._named(status)

    def __contains__(self, client: str) -> bool:
        return client in self._nodes

    def clients(self) -> list[str]:
        """All that have sent anything."""
        return list(self._nodes)

    def of(self, client: str) -> list[Exchange]:
        """The calls of a client, in the order in which they were sent."""
        node = self._nodes.get(client)
        if node is None:
            return []
        names = list(self._names)
        count = self._sent[node]
        exchanges = []
        for nth in range(max(0, count - self._per_node), count):
            slot = node * self._per_node + nth % self._per_node
            kind = names[self._kinds[slot]]
            assert isinstance(kind, tuple)
            server, route = kind
            status = str(names[self._statuses[slot]])
            times = self._times[slot * _WIDTH : (slot + 1) * _WIDTH]
            steps = sorted(
                ((name, at_s) for name, first in _STEPS.items() for at_s in times[first : first + 2] if at_s),
                key=lambda step: step[1],
            )
            exchanges.append(Exchange(client, server, route, times[_SENT], tuple(steps), status))
        return exchanges

    def _add_node(self, client: str) -> int:
        node = self._nodes[client] = len(self._nodes)
        self._sent.append(0)
        self._numbers.extend([0] * self._per_node)
        self._kinds.extend([0] * self._per_node)
        self._statuses.extend([0] * self._per_node)
        self._times.extend([0.0] * (self._per_node * _WIDTH))
        return node

    def _named(self, name: object) -> int:
        index = self._names.get(name)
        if index is None:
            index = self._names[name] = len(self._names)
        return index


_NEW = array("d", [0.0] * _WIDTH)
