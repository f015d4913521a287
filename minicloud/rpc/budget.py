"""The budget of received messages that all calls of a server hold together (DESIGN 21). Pure.

Always holds: the bytes left are those that no share has taken
(test_budget_left_is_what_shares_have_not_taken); a call returns its share when it ends
(test_call_cancelled_gives_back_what_it_held).
"""

from __future__ import annotations

# The first bytes of each call, which are not counted: a client that fills the budget with large messages does
# not keep others from sending ordinary ones. At worst all calls together hold this much each.
FREE_BYTES = 16_384


class ByteBudget:
    """The budget of one server, of which `left_bytes` have not been taken."""

    __slots__ = ("left_bytes",)

    def __init__(self, max_bytes: float) -> None:
        self.left_bytes = max_bytes


class Share:
    """The part of a budget that one call has taken."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._taken = 0

    def room_bytes(self) -> float:
        """The most bytes that the call can hold now."""
        return FREE_BYTES + self._taken + self._budget.left_bytes

    def hold(self, held_bytes: int) -> bool:
        """Set the bytes that the call holds; False, and nothing changes, where that is too much."""
        taken = held_bytes - FREE_BYTES if held_bytes > FREE_BYTES else 0
        more = taken - self._taken
        if more:
            if more > self._budget.left_bytes:
                return False
            self._budget.left_bytes -= more
            self._taken = taken
        return True
