"""Where the oracle writes down what it has checked, what did not hold, and what happened before that.

Always holds: `MOST_KEPT` violations at most are kept with their context, `MOST_OF_ONE` of each promise, so
that one that breaks all the time hides no other; the rest are counted. Of each node the last few events are
remembered, as tuples, and made into text only for a violation.
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
    """Of one run. Appends to `violations`; `on_violation` is called after each that is found."""

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
        """Count a check of `promise`; where it does not hold, `text` says what was seen and what was due."""
        self.checks[promise] += 1
        if not holds:
            self.violate(promise, node, text)
        return holds

    def violate(self, promise: Promise, node: str, text: str) -> None:
        """`promise` did not hold."""
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
        """What happened to `node`, and to the control plane: a worker's story makes no sense without."""
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
