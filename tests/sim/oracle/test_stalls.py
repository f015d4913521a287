"""Promise 18: every deadline moves by the length of a stall, except for a part that may go unnoticed."""

from __future__ import annotations

import pytest

from sim.oracle.stalls import Stalls
from sim.verdict.promises import STALLS_COMPENSATED
from tests.sim.oracle.parts import Found

_TIMEOUT_S = 24.0  # so that a second of a stall may go unnoticed


@pytest.mark.parametrize(
    ("by_s", "holds"), [(30.0, True), (29.0, True), (28.9, False), (30.1, False), (0.0, False)]
)
def test_stall_is_compensated_by_its_length_or_a_second_less(by_s: float, holds: bool) -> None:
    found = Found()
    stalls = Stalls(found.ledger, _TIMEOUT_S)
    stalls.paused(10.0)
    stalls.paused(20.0)  # a second fault, on top of the first one
    stalls.resumed(40.0)
    stalls.reported(by_s, 40.0)
    assert found.promises == ([] if holds else [str(STALLS_COMPENSATED)])


def test_stall_that_is_reported_before_its_end_is_known_has_ended() -> None:
    found = Found()
    stalls = Stalls(found.ledger, _TIMEOUT_S)
    stalls.paused(10.0)
    stalls.reported(30.0, 40.0)
    stalls.resumed(50.0)
    stalls.check()
    assert found.violations == []


def test_stall_that_never_was_is_not_compensated() -> None:
    found = Found()
    Stalls(found.ledger, _TIMEOUT_S).reported(5.0, 40.0)
    assert found.promises == [str(STALLS_COMPENSATED)]


@pytest.mark.parametrize(("lasted_s", "holds"), [(2.0, True), (2.1, False)])
def test_stall_without_a_report_is_a_violation_if_it_was_long_enough_to_be_noticed(
    lasted_s: float, holds: bool
) -> None:
    found = Found()
    stalls = Stalls(found.ledger, _TIMEOUT_S)
    stalls.paused(10.0)
    stalls.resumed(10.0 + lasted_s)
    stalls.check()
    stalls.check()  # reported once
    assert found.promises == ([] if holds else [str(STALLS_COMPENSATED)])


def test_stall_of_a_control_plane_that_was_restarted_counts_no_more() -> None:
    found = Found()
    stalls = Stalls(found.ledger, _TIMEOUT_S)
    stalls.paused(10.0)
    stalls.restart()
    stalls.resumed(100.0)
    stalls.check()
    assert found.violations == []
