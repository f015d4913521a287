"""The ledger: what it keeps of what was found, and what it tells of the time before."""

from __future__ import annotations

from sim.cluster.topology import CONTROL_PLANE
from sim.engine.timeline import Timeline
from sim.oracle.ledger import MOST_KEPT, MOST_OF_ONE, FirstOfEach, Ledger
from sim.verdict.outcome import Violation
from sim.verdict.promises import IDS_UNIQUE, NO_EARLY_VERDICT, PROMISES
from tests.sim.oracle.parts import Found


def test_ledger_keeps_the_first_violations_and_counts_the_rest() -> None:
    found: list[Violation] = []
    calls: list[None] = []
    ledger = Ledger(Timeline(), 1, found, lambda: calls.append(None))
    for promise in PROMISES:
        for number in range(MOST_OF_ONE + 5):
            assert not ledger.require(promise, False, "w", f"{number}")
    assert ledger.require(NO_EARLY_VERDICT, True, "w", "")
    assert len(found) == MOST_KEPT
    assert ledger.total == len(calls) == len(PROMISES) * (MOST_OF_ONE + 5)
    assert ledger.checks[NO_EARLY_VERDICT] == MOST_OF_ONE + 6
    kept = PROMISES[: MOST_KEPT // MOST_OF_ONE]
    assert [(violation.promise, violation.text) for violation in found] == [
        (str(promise), str(number)) for promise in kept for number in range(MOST_OF_ONE)
    ]


def test_violation_has_the_events_of_its_node_and_of_the_control_plane_in_the_order_of_time() -> None:
    found = Found()
    for at_s, node in ((1.0, "w-1"), (2.0, CONTROL_PLANE), (3.0, "w-2"), (4.0, "w-1")):
        found.timeline.now_s = at_s
        found.ledger.note(node, "met", node)
    found.ledger.violate(IDS_UNIQUE, "w-1", "text")
    found.ledger.violate(IDS_UNIQUE, CONTROL_PLANE, "text")
    first, second = found.violations
    assert first.context == ("1.000000 met w-1", f"2.000000 met {CONTROL_PLANE}", "4.000000 met w-1")
    assert second.context == (f"2.000000 met {CONTROL_PLANE}",)
    assert first.at_s == 4.0


def test_ledger_remembers_the_last_twenty_events_of_a_node() -> None:
    found = Found()
    for number in range(30):
        found.ledger.note("w", "event", number)
    found.ledger.violate(IDS_UNIQUE, "w", "text")
    assert [line.split()[-1] for line in found.violations[0].context] == [str(n) for n in range(10, 30)]


def test_first_of_each_passes_on_one_violation_of_a_promise_on_a_node() -> None:
    found = Found()
    first = FirstOfEach(found.ledger)
    for promise, node in ((IDS_UNIQUE, "a"), (IDS_UNIQUE, "a"), (IDS_UNIQUE, "b"), (NO_EARLY_VERDICT, "a")):
        first.violate(promise, node, "text")
    assert [(violation.promise, violation.node) for violation in found.violations] == [
        (str(IDS_UNIQUE), "a"),
        (str(IDS_UNIQUE), "b"),
        (str(NO_EARLY_VERDICT), "a"),
    ]
