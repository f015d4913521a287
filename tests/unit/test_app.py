"""Starting one of the two programs loads no module that only the other needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

# These take half of a control plane's start, and a worker needs none of them.
REST_STACK = {"quart", "quart_schema", "hypercorn", "werkzeug"}


def loaded_by(program: str) -> set[str]:
    """Return the modules, by their full names, of a process that is about to run `program`."""
    source = f"import sys, minicloud.__main__, minicloud.app.{program}; print('\\n'.join(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    return set(shown.stdout.split())


@pytest.mark.parametrize(
    ("program", "never"),
    [
        ("worker", REST_STACK | {"minicloud.control", "minicloud.store", "sqlite3", "prometheus_client"}),
        ("control_plane", {"minicloud.worker.agent", "psutil"}),
    ],
)
def test_program_loads_nothing_of_the_other(program: str, never: set[str]) -> None:
    assert loaded_by(program) & never == set()


def test_control_plane_loads_what_a_worker_never_does() -> None:
    assert loaded_by("control_plane") >= REST_STACK
