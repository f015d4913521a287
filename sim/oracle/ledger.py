"""The oracle's ledger: the checks it has made, the violations it has found, and the events before them.

Always holds: at most `MOST_KEPT` violations are kept with their context, and `MOST_OF_ONE` of each promise,
so that a promise that breaks all the time hides no other; the rest are counted
(tests/sim/oracle/test_ledger.py). The last few events of each node are kept as tuples, and made into text
only for a violation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import merge
from operator import itemgetter

from sim.cluster.topology import CONTROL_PLANE
from sim.engine.timeline import Timeline
from sim.verdict.outcome import Violation
from sim.verdict.promises import PROMISES, Promise

MOST_KEPT = 100
MOST_OF_ONE = 20
_EVENTS = 20  # remembered of each node
_EVENTS_OF_MANY = 4  # where there are more than `_MANY` nodes
_MANY = 20_000

# When, what, and with which figures.
Event = tuple[float, str, object, object]


class Ledger:
    """The ledger of one run. It appends to `violations`, and calls `on_violation` after each one found."""

    def __init__(
        self,
        timeline: Timeline,
        nodes: int,
        violations: list[Violation],
        on_violation: Callable[[], None],
    ) -> None:
        self.violations = violations
        self.total = 0
        self.checks: dict[Promise, int] = dict.fromkeys(PROMISES, 0)
        self.timeline = timeline
        self._of_one: dict[Promise, int] = dict.fromkeys(PROMISES, 0)
        self._on_violation = on_violation
        self._events = _EVENTS if nodes <= _MANY else _EVENTS_OF_MANY
        self._recent: dict[str, deque[Event]] = {}

    def recent(self, node: str) -> deque[Event]:
        """The last events of `node` (a worker's id, or the control plane), to append to."""
        found = self._recent.get(node)
        if found is None:
            found = self._recent[node] = deque(maxlen=self._events)
        return found

    def note(self, node: str, what: str, first: object = "", second: object = "") -> None:
        """Remember that `what` happened to `node` now."""
        self.recent(node).append((self.timeline.now_s, what, first, second))

    def require(self, promise: Promise, holds: bool, node: str, text: str) -> bool:
        """Count a check of `promise`. If it does not hold, record a violation: `text` names the finding
        and the right value."""
        self.checks[promise] += 1
        if not holds:
            self.violate(promise, node, text)
        return holds

    def violate(self, promise: Promise, node: str, text: str) -> None:
        """Record that `promise` did not hold."""
        self.total += 1
        self._of_one[promise] += 1
        if len(self.violations) < MOST_KEPT and self._of_one[promise] <= MOST_OF_ONE:
            context = tuple(
                " ".join((f"{at_s:.6f}", what, *(str(figure) for figure in figures if figure != "")))
                for at_s, what, *figures in self._before(node)
            )
            self.violations.append(Violation(str(promise), self.timeline.now_s, node, text, context))
        self._on_violation()

    def _before(self, node: str) -> list[Event]:
        """The last events of `node` and of the control plane, which a worker's events depend on."""
        nodes = (node,) if node == CONTROL_PLANE else (CONTROL_PLANE, node)
        streams = [self._recent[name] for name in nodes if name in self._recent]
        return list(merge(*streams, key=itemgetter(0)))[-_EVENTS:]


class FirstOfEach:
    """Passes on to `ledger` the first violation of each promise on each node, and drops later ones."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._found: dict[tuple[Promise, str], None] = {}

    def violate(self, promise: Promise, node: str, text: str) -> None:
        """Record that `promise` did not hold for `node`, unless that is known."""
        if (promise, node) not in self._found:
            self._found[promise, node] = None
            self._ledger.violate(promise, node, text)
