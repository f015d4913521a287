"""The last calls of each node, while they are on their way and after.

Always holds: the size depends on the number of nodes alone (tests/sim/test_record.py).
"""

from __future__ import annotations

from collections import deque

from sim.net.exchanges import Exchange


class LastCalls:
    """Keeps up to `per_node` calls of each client, which appends them to the deque that `of` returns."""

    def __init__(self, per_node: int) -> None:
        self._per_node = per_node
        self._calls: dict[str, deque[Exchange]] = {}

    def of(self, client: str) -> deque[Exchange]:
        """The calls of a client, in the order in which they were sent."""
        calls = self._calls.get(client)
        if calls is None:
            calls = self._calls[client] = deque(maxlen=self._per_node)
        return calls

    def clients(self) -> list[str]:
        """The clients that have sent anything."""
        return [client for client, calls in self._calls.items() if calls]
