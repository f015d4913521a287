"""`minicloud-sim` as people run it: exit codes, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sim.faults.schedule import Schedule
from sim.program.cli import BROKEN, COULD_NOT_RUN, HELD, INCONCLUSIVE, NOT_DETERMINISTIC
from sim.program.main import main
from sim.search.determinism import Difference

SMALL = ["--scenario", "steady", "--workers", "3", "--jobs", "1"]
# What `--json` promises to have.
KEYS = {
    "seed", "scenario", "workers", "virtual_seconds", "wall_seconds", "heartbeats", "trace_hash",
    "violations", "probes", "detection_seconds", "recovery_seconds", "false_positives",
    "peak_registrations_per_second", "messages",
}  # fmt: skip


def test_run_that_holds_exits_0_and_says_how_to_repeat_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--seed", "5"]) == HELD
    said = capsys.readouterr().out
    assert "HELD" in said
    assert "minicloud-sim --scenario steady --seed 5 --workers 3" in said


def test_run_that_breaks_a_promise_exits_1_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--mutate", "counted-twice"]) == BROKEN
    assert "9 views-agree" in capsys.readouterr().out


def test_run_in_which_a_goal_was_not_reached_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "vain.toml"
    scenario.write_text('name = "vain"\nsummary = "Expects what never comes."\nprobes = ["expired"]\n')
    assert main(["--scenario", str(scenario), "--workers", "3"]) == INCONCLUSIVE
    said = capsys.readouterr().out
    assert "expired" in said
    assert f"--scenario {scenario}" in said


def test_runs_that_differ_exit_3_and_the_first_difference_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    difference = Difference(17, ("same",), ("left",), ())
    monkeypatch.setattr("sim.program.command.compare_processes", lambda *_: difference)
    assert main([*SMALL, "--check-determinism"]) == NOT_DETERMINISTIC
    said = capsys.readouterr().out
    assert "event 17" in said
    assert "1 left" in said
    assert "2 (ends here)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "nope"], "no scenario 'nope': there are clock-drift, "),
        (["--mutate", "nope"], "no mutant 'nope'"),
        (["--replay", "/nowhere.json"], "No such file"),
        (["--replay", "x", "--workers", "3"], "--replay runs what its file says"),
        (["--replay", "x", "--depth", "wire"], "--replay runs what its file says"),
        (["--target", "127.0.0.1:1", "--depth", "wire"], "--depth is not for --target"),
        (["--target", "127.0.0.1:1", "--jobs", "2"], "--jobs is not for --target"),
        (["--target", "127.0.0.1:1", "--shrink"], "--shrink is not for --target"),
        (["--scenario", "swarm", "--fault", "loss=1%"], "swarm draws its faults itself"),
        (["--seeds", "1..3", "--trace", "/tmp/x"], "--trace is for a single run"),
        (["--scenario", "steady", "--duration", "10"], "--duration '10'"),
        ([*SMALL, "--json", "/nowhere/x.json"], "No such file"),
    ],
)
def test_what_cannot_run_exits_4_with_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == COULD_NOT_RUN
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("minicloud-sim:")]
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--seeds", "3..1"], ["--frobnicate"], ["x"]])
def test_usage_error_exits_4_too_as_2_is_an_outcome(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == COULD_NOT_RUN
    assert capsys.readouterr().err.startswith("minicloud-sim: ")


def test_everything_that_is_asked_for_is_written(tmp_path: Path) -> None:
    arguments = ["--json", "x.json", "--junit", "x.xml", "--report", "r", "--trace", "x.trace"]
    written = [each if each.startswith("--") else str(tmp_path / each) for each in arguments]
    assert main([*SMALL, *written]) == HELD
    document = json.loads((tmp_path / "x.json").read_bytes())
    assert set(document) >= KEYS
    assert set(document["detection_seconds"]) >= {"p50", "p95", "p99", "max"}
    assert set(document["messages"]) >= {"sent", "delivered", "dropped", "duplicated"}
    assert ElementTree.parse(tmp_path / "x.xml").getroot().tag == "testsuites"
    assert "<!doctype html>" in (tmp_path / "r" / "index.html").read_text().lower()
    assert (tmp_path / "x.trace").read_text().count("\n") > 100
    assert Schedule.from_json((tmp_path / "r" / "steady-1-schedule.json").read_bytes()).seed == 1


def test_replayed_schedule_gives_the_same_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ["--scenario", "partition", "--workers", "6", "--seed", "4", "--report", str(tmp_path)]
    assert main([*first, "--json", "-"]) == HELD
    recorded = json.loads(capsys.readouterr().out)
    schedule = str(tmp_path / "partition-4-schedule.json")
    assert main(["--replay", schedule, "--json", "-"]) == HELD
    replayed = json.loads(capsys.readouterr().out)
    assert replayed["trace_hash"] == recorded["trace_hash"]
    assert f"--replay {schedule}" in replayed["command"]


def test_several_runs_have_sums_and_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "steady", "--scenario", "swarm", "--workers", "3", "--seeds", "1..2"]
    assert main([*arguments, "--jobs", "2", "--json", "-"]) == HELD
    document = json.loads(capsys.readouterr().out)
    assert set(document) >= KEYS
    runs = [(run["scenario"], run["seed"]) for run in document["runs"]]
    assert runs == [("steady", 1), ("steady", 2), ("swarm", 1), ("swarm", 2)]
    assert document["heartbeats"] == sum(run["heartbeats"] for run in document["runs"])


def test_shrunk_schedule_is_written_and_still_breaks_the_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scenario", "partition", "--workers", "6", "--mutate", "no-recovery"]
    assert main([*arguments, "--shrink", "--report", str(tmp_path)]) == BROKEN
    assert "the smallest schedule that breaks it" in capsys.readouterr().out
    path = tmp_path / "partition-1-smallest.json"
    smallest = Schedule.from_json(path.read_bytes())
    assert len(smallest.faults) == 1
    assert smallest.topology.workers == 1
    assert main(["--replay", str(path), "--mutate", "no-recovery"]) == BROKEN
    assert main(["--replay", str(path)]) in (HELD, INCONCLUSIVE)


def test_one_seed_gives_one_trace_in_processes_that_hash_differently() -> None:
    assert main(["--scenario", "swarm", "--workers", "8", "--seed", "2", "--check-determinism"]) == HELD


def test_wire_depth_runs_the_whole_grpc_stack(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "control-plane-crash", "--workers", "4", "--depth", "wire", "--json", "-"]
    assert main(arguments) == HELD
    document = json.loads(capsys.readouterr().out)
    assert document["depth"] == "wire"
    assert document["heartbeats"] > 100


def test_list_names_scenarios_faults_probes_and_mutants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == HELD
    said = capsys.readouterr().out
    for name in ("swarm", "thundering-herd", "rolling-restart", "taken-over", "no-fencing"):
        assert f"  {name} " in said
