"""What is told of calls on their way between nodes, to whoever keeps a journal of them."""

from __future__ import annotations

from typing import Protocol

# The steps a call may come to, in order. What was lost lacks one, what was doubled has it twice.
ARRIVED, ANSWERED, RETURNED = "arrived", "answered", "returned"


class Journal(Protocol):
    """Called in the step in which it happens; must neither wait nor raise."""

    def sent(self, client: str, server: str, route: str) -> int:
        """A request leaves its client. Answers with a number for the call."""
        ...

    def step(self, call: int, name: str, client: str, status: str) -> None:
        """A call has come to the step of that name; `status` is that of the answer, if there is one yet."""
        ...
