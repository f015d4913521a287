"""The simulator runs inside the executable."""

from __future__ import annotations

import json

import pytest

from sim.program.run import How, run_one
from sim.scenario.swarm import swarm
from tests.integration.processes import Launcher, Process


def ended(process: Process, code: int) -> str:
    """Wait for the end with this exit code, and return the output."""
    assert process.exit_code() == code, process.stderr
    return process.stdout


def test_thousand_workers_hold_every_promise(launch: Launcher) -> None:
    arguments = ("--scenario", "steady", "--workers", "1000", "--duration", "6m", "--json", "-")
    document = json.loads(ended(launch.run("sim", *arguments), 0))
    assert document["registrations"] == document["workers"] == 1000
    assert document["violations"] == []


def test_one_seed_is_one_run_in_and_out_of_the_executable(launch: Launcher) -> None:
    arguments = ("--scenario", "swarm", "--workers", "8", "--seed", "2")
    document = json.loads(ended(launch.run("sim", *arguments, "--json", "-"), 0))
    outcome, _ = run_one(swarm(2, 8, None), How())
    assert document["trace_hash"] == outcome.trace_hash
    assert "two processes, one trace" in ended(launch.run("sim", *arguments, "--check-determinism"), 0)


def test_processes_of_the_simulator_hash_differently(launch: Launcher) -> None:
    # Otherwise the check for determinism would compare nothing.
    run = ("sim", "--scenario", "steady", "--workers", "1", "--json", "-")
    hashed = [json.loads(ended(launch.run(*run), 0))["hashed"] for _ in range(2)]
    assert hashed[0] != hashed[1]


def test_runs_are_shared_out_to_processes(launch: Launcher) -> None:
    run = ("sim", "--scenario", "swarm", "--workers", "4", "--seeds", "1..3", "--jobs", "2", "--json", "-")
    document = json.loads(ended(launch.run(*run), 0))
    assert [each["seed"] for each in document["runs"]] == [1, 2, 3]


def test_broken_promise_exits_1_and_its_page_is_written(launch: Launcher) -> None:
    run = ("sim", "--scenario", "steady", "--workers", "3", "--mutate", "counted-twice", "--report", "page")
    ended(launch.run(*run), 1)
    page = (launch.folder / "page" / "index.html").read_text()
    assert "views-agree" in page
    assert "<style>" in page


@pytest.mark.parametrize(("arguments", "code"), [(("--scenario", "nope"), 4), (("--list",), 0)])
def test_exit_codes_are_the_simulators(launch: Launcher, arguments: tuple[str, ...], code: int) -> None:
    ended(launch.run("sim", *arguments), code)


def test_simulator_at_a_real_control_plane(launch: Launcher) -> None:
    control_plane = launch.control_plane(interval="500ms")
    run = ("sim", "--target", control_plane.address, "--workers", "20", "--ramp", "500ms", "--duration", "3s")
    ended(launch.run(*run), 0)
    assert control_plane.statuses == {}
