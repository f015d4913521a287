"""The last calls of each node, while they are on their way and after.

Always holds: the size depends on the number of nodes alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sim.net.journal import Exchange


class LastCalls:
    """Up to `per_node` of each client."""

    def __init__(self, per_node: int) -> None:
        self._per_node = per_node
        self._calls: dict[str, deque[Exchange]] = {}

    def add(self, exchange: Exchange) -> None:
        """A call is sent."""
        calls = self._calls.get(exchange.client)
        if calls is None:
            calls = self._calls[exchange.client] = deque(maxlen=self._per_node)
        calls.append(exchange)

    def forget(self) -> None:
        """Keep nothing any more."""
        self._per_node = 0
        self._calls.clear()

    def __contains__(self, client: str) -> bool:
        return client in self._calls

    def clients(self) -> list[str]:
        """All that have sent anything."""
        return list(self._calls)

    def of(self, client: str) -> Iterable[Exchange]:
        """The calls of a client, in the order in which they were sent."""
        return self._calls.get(client, ())
