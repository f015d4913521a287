"""The terminal that tests give a program has a size, keys and an end."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.terminal import COLUMNS, CTRL_C, Terminal

ENV = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_terminal_has_its_own_size_and_type_whatever_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    code = "import os, shutil; print(shutil.get_terminal_size().columns, os.environ['TERM'], os.isatty(2))"
    with Terminal(python(code), env=ENV) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.shown == f"{COLUMNS} xterm True\n"


def test_terminal_shows_all_of_an_output_larger_than_its_buffer() -> None:
    with Terminal(python("print('x' * 300_000)"), env=ENV) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.shown == "x" * 300_000 + "\n"


def test_ctrl_c_on_the_terminal_reaches_children_too_and_lines_after_it_are_told_apart() -> None:
    code = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-uc", '''
import signal
signal.signal(signal.SIGINT, lambda *_: exit(7))
print("ready")
signal.pause()'''], stdout=subprocess.PIPE)
child.stdout.readline()
try:
    print("ready", flush=True)
    child.wait()
except KeyboardInterrupt:
    print("child", child.wait())
    sys.exit(5)
"""
    with Terminal(python(code), env=ENV) as terminal:
        terminal.until_shown("ready")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 5
        assert terminal.lines_after(CTRL_C) == ["child 7"]


def test_terminal_that_hangs_up_ends_its_program_with_sighup() -> None:
    with Terminal(python("import signal; print('ready'); signal.pause()"), env=ENV) as terminal:
        terminal.until_shown("ready")
        terminal.hang_up()
        assert terminal.exit_code() == -signal.SIGHUP


def test_terminal_whose_context_ends_leaves_no_program() -> None:
    with Terminal(python("import signal; print('ready'); signal.pause()"), env=ENV) as terminal:
        terminal.until_shown("ready")
        assert terminal.running
    assert not terminal.running


def test_wait_for_what_an_ended_program_never_wrote_fails_with_what_it_wrote() -> None:
    with (
        Terminal(python("print('something else')"), env=ENV) as terminal,
        pytest.raises(AssertionError, match="something else"),
    ):
        terminal.until_shown("this")
