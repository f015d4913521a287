"""Real shells ask for the completions, as if Tab had been pressed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from shlex import quote

import pytest

from minicloud.cli.parser import COMMANDS
from minicloud.config import table
from minicloud.control.rest.parameters import StatusFilter
from tests.packaging.files import PACKAGING, ROOT, tool

COMPLETIONS = PACKAGING / "completions"
BIN = Path(sys.executable).parent

# This does what bash does when Tab is pressed behind the last word.
_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\) .*/\\1/') "$1" "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""

# zsh completes only at a terminal: this starts one inside it, presses Tab there, and writes down every match.
_ZSH = """
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "source $1"
zpty -n -w inner "$2"$'\\t'
repeat 2000; do
  [[ -e $3 ]] && break
  zpty -r -t inner >/dev/null
  sleep 0.02
done
zpty -d inner
"""
_ZSH_INNER = """
PROMPT=
fpath=({completions} $fpath)
autoload -Uz compinit
compinit -D -u
compadd() {{
  local -a matches
  if [[ " $* " != *" -"[OAD]" "* ]]; then
    builtin compadd -A matches "$@"
    print -rl -- $matches >> {matches}
  fi
  builtin compadd "$@"
}}
finished() {{ print > {finished} }}
comppostfuncs=(finished)
bindkey '^I' complete-word
"""


def bash(program: str, *words: str, path: Path = BIN) -> list[str]:
    script = str(COMPLETIONS / f"{program}.bash")
    return _run([tool("bash", "bash"), "--norc", "-c", _BASH, "bash", script, program, *words], path)


def fish(program: str, *words: str, path: Path = BIN) -> list[str]:
    shell = tool("fish", "fish")
    script = (
        f"source {quote(str(COMPLETIONS / f'{program}.fish'))}; complete -C '{' '.join([program, *words])}'"
    )
    return [line.split("\t")[0] for line in _run([shell, "--no-config", "-c", script], path)]


def zsh(program: str, *words: str, path: Path = BIN) -> list[str]:
    shell = tool("zsh", "zsh")
    with tempfile.TemporaryDirectory() as folder:
        inner, matches, finished = (Path(folder) / name for name in ("inner", "matches", "finished"))
        inner.write_text(
            _ZSH_INNER.format(completions=quote(str(COMPLETIONS)), matches=matches, finished=finished)
        )
        line = " ".join([program, *words])
        _run([shell, "-f", "-c", _ZSH, "zsh", str(inner), line, str(finished)], path)
        assert finished.exists(), "zsh did not complete"
        return sorted(set(matches.read_text().split())) if matches.exists() else []


def _run(command: list[str], path: Path = BIN) -> list[str]:
    """Return the lines that a command prints; it finds programs in `path` first."""
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=50,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TERM": "dumb"},
    )
    assert found.returncode == 0, found.stderr
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]


Shell = Callable[..., list[str]]
SHELLS = pytest.mark.parametrize("shell", [bash, zsh, fish], ids=lambda shell: shell.__name__)


@SHELLS
def test_shell_completes_commands(shell: Shell) -> None:
    assert sorted(shell("minicloud", "d")) == ["dev", "drain"]
    assert set(COMMANDS) <= set(shell("minicloud", ""))


@SHELLS
def test_shell_completes_options_of_the_server_and_of_a_command(shell: Shell) -> None:
    assert sorted(shell("minicloud", "--heartbeat-")) == ["--heartbeat-interval", "--heartbeat-timeout"]
    assert sorted(shell("minicloud", "drain", "--w")) == ["--wait", "--within"]
    assert "--wait" not in shell("minicloud", "cordon", "--")


@SHELLS
def test_shell_completes_words_that_a_value_may_be(shell: Shell) -> None:
    assert sorted(shell("minicloud", "--log-level", "")) == ["debug", "error", "info", "warning"]
    assert shell("minicloud", "workers", "--status", "u") == ["unhealthy"]


@SHELLS
def test_shell_completes_workers_there_are(shell: Shell, tmp_path: Path) -> None:
    # The output of `minicloud workers` for two workers.
    (tmp_path / "minicloud").write_text(
        "#!/bin/sh\n[ $1 = workers ] && printf 'WORKER STATUS\\nblue-1 HEALTHY\\nred-1 HEALTHY\\n'\n"
    )
    (tmp_path / "minicloud").chmod(0o755)
    assert shell("minicloud", "drain", "", path=tmp_path) == ["blue-1", "red-1"]
    assert shell("minicloud", "cordon", "re", path=tmp_path) == ["red-1"]
    assert shell("minicloud", "workers", "b", path=tmp_path) == ["blue-1"]


@SHELLS
def test_shell_completes_the_simulator(shell: Shell) -> None:
    assert shell("minicloud-sim", "--check") == ["--check-determinism"]


def test_words_offered_are_those_that_are_taken() -> None:
    (found,) = _run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, 'packaging'); import parsers; print(parsers.WORDS)",
        ]
    )
    words: dict[str, tuple[str, ...]] = eval(found)  # noqa: S307 - our own literal
    assert {table.LOG_LEVEL.parse(word) for word in words["--log-level"]} == set(words["--log-level"])
    assert {table.LOG_FORMAT.parse(word) for word in words["--log-format"]} == set(words["--log-format"])
    assert {StatusFilter(word).lower() for word in words["--status"]} == set(words["--status"])


def test_documents_are_the_same_whatever_the_terminal(tmp_path: Path) -> None:
    for columns in ("40", "200"):
        subprocess.run(
            [sys.executable, "packaging/docs.py", str(tmp_path / columns)],
            check=True,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": columns},
            timeout=50,
        )
    narrow, wide = ({p.name: p.read_text() for p in (tmp_path / c).rglob("*.*")} for c in ("40", "200"))
    assert narrow == wide
    assert len(narrow) >= 6
