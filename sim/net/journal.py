"""What is told of calls on their way between nodes, to whoever keeps a journal of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, eq=False)
class Exchange:
    """A call between two nodes.

    `steps` are those it has come to, a name and a time in turn: `arrived` at the server, `answered` by it,
    `returned` to the client. What was lost lacks one, what was doubled has it twice.
    """

    client: str
    server: str
    route: str
    sent_s: float
    steps: list[str | float] = field(default_factory=list)
    status: str = ""  # of the answer


class Journal(Protocol):
    """Called in the step in which it happens; must neither wait nor raise."""

    def sent(self, client: str, server: str, route: str) -> Exchange:
        """A request leaves its client."""
        ...

    def step(self, exchange: Exchange, name: str) -> None:
        """It has come to the step of that name."""
        ...
