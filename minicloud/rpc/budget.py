"""The bytes of received messages that all calls of a server may hold together.

What always holds: what a call counts for is given back when it counts for less, and in the end. Pure.
"""

from __future__ import annotations

# Of each call, not counted: whoever fills the budget with large messages must not keep others from sending
# ordinary ones. At worst that is this much for each of all the calls there may be.
FREE_BYTES = 16_384


class ByteBudget:
    """`left_bytes` of it have not been taken."""

    __slots__ = ("left_bytes",)

    def __init__(self, max_bytes: float) -> None:
        self.left_bytes = max_bytes


class Share:
    """What one call has taken of a budget."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._taken = 0

    def room_bytes(self) -> float:
        """The most that the call could count for now."""
        return FREE_BYTES + self._taken + self._budget.left_bytes

    def hold(self, held_bytes: int) -> bool:
        """Have the call count for `held_bytes`; False, and nothing changes, if that is too much."""
        taken = held_bytes - FREE_BYTES if held_bytes > FREE_BYTES else 0
        more = taken - self._taken
        if more:
            if more > self._budget.left_bytes:
                return False
            self._budget.left_bytes -= more
            self._taken = taken
        return True
