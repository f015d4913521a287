"""Options of `minicloud-sim` that contradict each other, have no effect, or cannot be carried out: each is
refused in one line, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sim.program.cli import COULD_NOT_RUN, HELD
from sim.program.main import main

STEADY = ("--scenario", "steady", "--workers", "3")


def refused(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """The one line that is all there is."""
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's own checks
        code = int(end.code or 0)
    assert code == COULD_NOT_RUN
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("minicloud-sim: ")
    return line.removeprefix("minicloud-sim: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--list", "--workers", "5"], "--workers is not for --list: leave it out"),
        (["--list", "--show", "steady"], "--show is not for --list: leave it out"),
        (["--show", "steady", "--json", "x"], "--json is not for --show: leave it out"),
        (["--list", "--seed", "0"], "--seed is not for --list: leave it out"),
        (["--replay", "x", "--seed", "0"], "--replay runs what its file says: leave --seed out"),
        (["--replay", "x", "--fault", "loss=1%"], "--replay runs what its file says: leave --fault out"),
        ([*STEADY, "--check-determinism", "--json", "x"], "--json is not for --check-determinism"),
        ([*STEADY, "--check-determinism", "--shrink"], "--shrink is not for --check-determinism"),
        ([*STEADY, "--ramp", "5s"], "--ramp is for --target: leave it out, or name a --target"),
        ([*STEADY, "--allow-remote"], "--allow-remote is for --target"),
        (["--target", "127.0.0.1:9", "--report", "r"], "--report is not for --target"),
        ([*STEADY, "--scenario", "steady"], "--scenario steady is named twice: leave one out"),
        ([*STEADY, "--mutate", "no-fencin"], "no mutant 'no-fencin': did you mean 'no-fencing'?"),
        (["--seeds", "1..200000"], "'1..200000' has more than 100,000 seeds: run them in parts"),
        (["--seeds", "1..40000"], "--seeds: makes more than 100,000 runs: run them in parts"),
        (["--seeds", "1.."], "'1..' is not a range of seeds, as in 1..200"),
        (["--seeds", "5"], "'5' is not a range of seeds"),
        (["--seeds", "\u0661..\u0663"], "is not a range of seeds"),
        (["--seeds", "1.." + "9" * 30], "is not a range of seeds"),
        (["--seeds", "-1..5"], "--seeds"),
        (["--seed", "-1"], "--seed: '-1' is not a number from 0 to"),
        (["--seed", "1", "--seeds", "1..2"], "--seeds: not allowed with argument --seed"),
        (["--jobs", "0"], "--jobs: '0' is not a number from 1 to 1024"),
        (["--workers", "-5"], "--workers: '-5' is not a number from 1 to 1000000"),
        (["--workers", "1e3"], "--workers: '1e3' is not a number from 1 to 1000000"),
        (["--duration", "nan"], "--duration 'nan' is not a duration"),
        (["--duration", "9999d"], "--duration '9999d' is out of range: give 0s to 365d"),
        (["--duration", "0s"], "steady takes 180 s to form and to settle: give it longer"),
        (["--scenario", "swarm", "--duration", "1m"], "--duration: swarm takes up to 510 s to form"),
        (
            ["--scenario", "duplicate-ids", "--workers", "5"],
            "duplicate-ids:6: topology: duplicates = 5 is more",
        ),
        (
            ["--scenario", "duplicate-ids", "--workers", "10", "--fault", "loss=2"],
            "--fault loss=2: loss: prob",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, arguments)


@pytest.mark.parametrize("option", ["--json", "--junit", "--trace", "--report"])
@pytest.mark.parametrize("where", ["missing/x", "folder/", "file/x"])
def test_output_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, option: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = f"{tmp_path}/{where}"
    if option == "--report" and where != "file/x":
        return  # a folder is what it wants, and is made where it is missing
    # So many workers that the test would time out if they ran.
    line = refused(capsys, ["--scenario", "steady", "--workers", "900000", option, path])
    assert line.startswith(f"{option} {path}: ")
    assert line.endswith(" that can be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_this_user_may_not_write_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    try:
        line = refused(capsys, [*STEADY, "--report", f"{tmp_path}/r"])
    finally:
        tmp_path.chmod(0o700)
    assert "Permission denied" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "x", "--junit", "x"], "--junit x: --json writes this file: name another"),
        (["--junit", "-"], "--junit -: only --json is written to standard output: name a file"),
        (["--trace", "-"], "--trace -: only --json is written to standard output"),
    ],
)
def test_outputs_that_are_in_each_others_way_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, [*STEADY, *arguments])


def test_two_files_with_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for file in files:
        file.write_text('name = "x"\nsummary = "s"\n')
    line = refused(capsys, ["--scenario", str(files[0]), "--scenario", str(files[1])])
    assert line.startswith(f"--scenario: {files[0]} and {files[1]} both have the name 'x'")


def test_each_of_several_files_is_repeated_by_its_own_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = []
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(
            f'name = "{name}"\nsummary = "s"\n[phases]\nsetup = "1m"\nchaos = "1s"\ncheck = "1m"\n'
        )
        arguments += ["--scenario", f"{tmp_path}/{name}.toml"]
    assert main([*arguments, "--workers", "2", "--jobs", "1"]) == HELD
    shown = capsys.readouterr().out
    for name in ("a", "b"):
        assert f"minicloud-sim --scenario {tmp_path}/{name}.toml --seed 1 --workers 2" in shown
