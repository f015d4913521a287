"""The executable starts fast, beside three other tests.

The bounds are several times the figures of a machine that does nothing else, which `make bench` has.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.control_plane import first_answers_s
from tests.bench.executable import versions_s


def test_version_is_shown_soon(executable: Path) -> None:
    assert min(versions_s(5, executable)) < 2.0


def test_first_call_is_answered_soon(executable: Path) -> None:
    assert min(first_answers_s(3, [str(executable)])) < 6.0
