#!/usr/bin/env python3
"""This script runs the two commands of README as a person does who has just got the sources.

    .ci/stranger.py [PYTHON]

It works in a copy of the files that git has, in a folder with a space in its name, with nothing installed; as
an ordinary user, where root runs it; on a terminal of 140 columns; in the C locale, with Python's own
remedies for that locale switched off; with PYTHON, if it is given.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.terminal import CTRL_C, Terminal  # noqa: E402

NOBODY = 65534
INSTALLED_WITHIN_S = 600.0
TESTED_WITHIN_S = 1500.0
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n]*\r(?!\n)")


def main() -> int:
    """Run both commands and return the exit code."""
    python = [f"PYTHON={sys.argv[1]}"] if len(sys.argv) > 1 else []
    with tempfile.TemporaryDirectory(prefix="stranger-") as work:
        home, folder = Path(work) / "home", Path(work) / "Mini Cloud"
        copy_sources(folder)
        home.mkdir()
        user = ordinary_user(Path(work), sys.argv[1] if len(sys.argv) > 1 else base_python())
        env = environment(home)
        run([*user, "make", *python, "run"], folder, env)
        return test([*user, "make", *python, "test"], folder, env)


def copy_sources(folder: Path) -> None:
    """Copy the files that git has into `folder`."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in files.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)


def base_python() -> str:
    """Return the Python from which the environment of the running one was made."""
    return str(getattr(sys, "_base_executable", sys.executable))


def ordinary_user(work: Path, python: str) -> list[str]:
    """Return a command that runs another one as a user who owns `work` and has no special rights.

    It is empty where root does not run this, or where only root can run `python`.
    """
    if os.geteuid() != 0:
        return []
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    if subprocess.run([*user, python, "-I", "-c", ""], cwd="/", stderr=subprocess.DEVNULL).returncode != 0:
        print(f"only root may run {python}: no other user is tried", flush=True)
        return []
    for folder, folders, files in os.walk(work):
        for name in ("", *folders, *files):
            os.chown(Path(folder) / name, NOBODY, NOBODY)
    return user


def environment(home: Path) -> Mapping[str, str]:
    """Return an environment with the path of programs, the settings of the package index here, and the C
    locale."""
    kept = {name: text for name, text in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    unusual = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)} | kept | unusual


def run(command: list[str], folder: Path, env: Mapping[str, str]) -> None:
    """Run `make run` until everything is up, and then press Ctrl-C."""
    with Terminal(command, env={**env, "NO_COLOR": "1"}, cwd=folder) as terminal:
        terminal.until_shown("worker-3      | started", INSTALLED_WITHIN_S)
        terminal.press(CTRL_C)
        code = terminal.exit_code()
        print(plain(terminal.shown), flush=True)
        assert code in (-2, 130), code
        assert terminal.lines_after(CTRL_C) == ["minicloud: interrupted"], terminal.lines_after(CTRL_C)


def test(command: list[str], folder: Path, env: Mapping[str, str]) -> int:
    """Run `make test`, show its output at its end, and return its exit code."""
    with Terminal(command, env=env, cwd=folder) as terminal:
        try:
            return terminal.exit_code(TESTED_WITHIN_S)
        finally:
            print(plain(terminal.shown), flush=True)


def plain(shown: str) -> str:
    """Return `shown` without control codes, and without text that was drawn over."""
    return _CONTROLS.sub("", shown)


if __name__ == "__main__":
    sys.exit(main())
