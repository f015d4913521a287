"""Output of the simulator that cannot be written as it is, or at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from minicloud.cli.itself import child_environment
from sim.program.cli import BROKEN, COULD_NOT_RUN, HELD, INCONCLUSIVE

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--scenario", "steady", "--workers", "3", "--jobs", "1")
VAIN = 'name = "vain"\nsummary = "Nothing \u2014 \u00e9."\nprobes = ["expired"]\n[topology]\nworkers = 3\n'
C_LOCALE = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
WITHIN_S = 60


def simulate(
    folder: Path, *arguments: str, stdout: int | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sim", *arguments],
        env={**child_environment(os.environ), "PYTHONPATH": str(ROOT), **(env or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        timeout=WITHIN_S,
        check=False,
    )


def lines_of_errors(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """The lines on standard error, without progress."""
    return [line for line in done.stderr.decode().splitlines() if "%  " not in line]


def test_character_that_the_locale_lacks_is_written_as_an_escape(tmp_path: Path) -> None:
    (tmp_path / "\u00e9.toml").write_text(VAIN, encoding="utf-8")
    done = simulate(tmp_path, "--scenario", "\u00e9.toml", env=C_LOCALE)
    assert done.returncode == INCONCLUSIVE, done.stderr
    assert b"again with  minicloud-sim --scenario" in done.stdout
    assert b"\\" in done.stdout
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    assert lines_of_errors(done) == []


def test_error_with_a_character_that_the_locale_lacks_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(VAIN.replace("vain", "\u00e9"), encoding="utf-8")
    done = simulate(tmp_path, "--scenario", "x.toml", env=C_LOCALE)
    assert done.returncode == COULD_NOT_RUN
    assert lines_of_errors(done) == [
        'minicloud-sim: x.toml:1: scenario: name = "\\xe9" is not a name: give up to 64 letters, digits, '
        "'-', '_' or '.'"
    ]


@pytest.mark.parametrize(
    "arguments", [["--list"], ["--show", "format"], ["--help"], SMALL, [*SMALL, "--json", "-"]]
)
def test_full_output_is_one_line(tmp_path: Path, arguments: Sequence[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = simulate(tmp_path, *arguments, stdout=full.fileno())
    assert done.returncode == COULD_NOT_RUN
    (line,) = lines_of_errors(done)
    assert line.startswith("minicloud-sim: cannot write to standard output: no space left on device")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--list"], HELD),
        ([*SMALL, "--json", "x.json"], HELD),
        ([*SMALL, "--json", "x.json", "--mutate", "counted-twice"], BROKEN),
    ],
)
def test_reader_that_has_ended_changes_no_verdict(
    tmp_path: Path, arguments: Sequence[str], code: int
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = simulate(tmp_path, *arguments, stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == code
    assert lines_of_errors(done) == []
    if "--json" in arguments:
        assert json.loads((tmp_path / "x.json").read_bytes())["scenario"] == "steady"


@pytest.mark.parametrize("option", ["--json", "--junit", "--trace"])
def test_file_that_cannot_be_written_is_one_line_that_names_it(tmp_path: Path, option: str) -> None:
    done = simulate(tmp_path, *SMALL, option, "/dev/full")
    assert done.returncode == COULD_NOT_RUN
    if option != "--trace":
        assert b"1 run: 1 held" in done.stdout
    assert lines_of_errors(done) == [
        f"minicloud-sim: {option} /dev/full: No space left on device: name a file that can be written"
    ]
