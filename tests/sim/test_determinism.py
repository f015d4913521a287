"""Comparing two traces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minicloud.cli.itself import child_environment, minicloud_command
from sim.scenario.expand import expand
from sim.scenario.scenario import load
from sim.search.determinism import CannotCompareError, compare_processes, first_difference


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_traces_that_are_the_same_do_not_differ(tmp_path: Path) -> None:
    lines = [str(number) for number in range(100)]
    assert first_difference(write(tmp_path / "a", lines), write(tmp_path / "b", lines)) is None


def test_first_line_that_differs_is_shown_with_what_is_around_it(tmp_path: Path) -> None:
    lines = [str(number) for number in range(100)]
    other = [*lines[:50], "fifty", *lines[51:]]
    difference = first_difference(write(tmp_path / "a", lines), write(tmp_path / "b", other))
    assert difference is not None
    assert difference.line == 51
    assert difference.before == tuple(lines[42:50])
    assert difference.first == tuple(lines[50:58])
    assert difference.second == ("fifty", *lines[51:58])


@pytest.mark.parametrize("longer", [0, 1])
def test_trace_that_ends_early_differs(tmp_path: Path, longer: int) -> None:
    lines = [str(number) for number in range(10)]
    traces = [lines[:7], lines[:7]]
    traces[longer] = lines
    difference = first_difference(write(tmp_path / "a", traces[0]), write(tmp_path / "b", traces[1]))
    assert difference is not None
    assert difference.line == 8
    assert (difference.first, difference.second)[longer] == ("7", "8", "9")
    assert (difference.first, difference.second)[1 - longer] == ()


def test_runs_that_hash_alike_are_no_comparison() -> None:
    deaf = ["env", "PYTHONHASHSEED=7", *minicloud_command(), "sim"]
    with pytest.raises(CannotCompareError, match="hashed alike"):
        compare_processes(expand(load("steady"), seed=1, workers=2), deaf, child_environment(os.environ))
