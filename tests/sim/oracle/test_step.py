"""The step of the service between taking a message and answering it."""

from __future__ import annotations

from minicloud.wire.gen.minicloud.execution import RegisterWorkerRequest
from sim.engine.timeline import Timeline
from sim.oracle.ledger import Ledger
from sim.oracle.model import Model
from sim.oracle.step import Step
from sim.verdict.outcome import Violation
from sim.verdict.promises import LIVE_RECOVERED, VERDICT_ON_TIME
from tests.sim.oracle.parts import Found, registration


def test_step_that_a_new_message_ends_judges_the_message_before_and_what_was_due() -> None:
    found: list[Violation] = []
    ledger = Ledger(Timeline(), 1, found, lambda: None)
    model = Model(120.0, 3600.0, ledger)
    step = Step(model, ledger)
    model.register("w", 1, RegisterWorkerRequest(endpoint="h:1"), 0.0)
    judged: list[object] = []
    for message in ("first", "second"):
        step.begin(message, 120.0, lambda message, now_s: judged.append(message))
    assert judged == ["first", "second"]
    assert [violation.promise for violation in found] == [str(VERDICT_ON_TIME)]


def test_worker_whose_accepted_heartbeat_does_not_make_it_healthy_is_a_violation() -> None:
    for recovers in (True, False):
        found = Found()
        model = Model(15.0, 600.0, found.ledger)
        step = Step(model, found.ledger)
        member = model.register("w", 1, registration("w"), 0.0)
        model.expire(member)
        step.recovering = member
        if recovers:
            model.recover(member)
        step.settle()
        assert found.promises == ([] if recovers else [str(LIVE_RECOVERED)])


def test_step_of_a_control_plane_that_was_restarted_is_void() -> None:
    found = Found()
    model = Model(15.0, 600.0, found.ledger)
    step = Step(model, found.ledger)
    model.register("w", 1, registration("w"), 0.0)
    judged: list[object] = []
    step.begin("first", 20.0, lambda message, now_s: judged.append(message))
    step.restart()
    step.settle()
    assert (judged, found.violations) == ([], [])
