"""A `Terminal` runs a program on a terminal of its own, as in front of a person.

    with Terminal([*PROGRAM, "events", "-f"], env=launch.environment) as terminal:
        terminal.until_shown("Ctrl-C ends it")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 130
        assert terminal.lines_after(CTRL_C) == ["minicloud: interrupted"]

Always holds: the terminal is the program's controlling one, so a key such as Ctrl-C is a signal to all of its
process group; it has the same size and type whatever the tests are started in; the program never waits for a
test to read; every wait has a deadline; when the context ends, so has the program. The tests in
`tests/unit/test_terminal.py` keep these.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

COLUMNS, ROWS = 140, 40

CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_Z = "\x1a"

# Waits take a fraction of this on an idle machine; only a test that fails waits for so long.
WITHIN_S = 60.0
_POLL_S = 0.01

# This makes the terminal the session's, then becomes the program, with no signal ignored. `preexec_fn` would
# do the same, but Python 3.12 warns of it in a process that has threads, such as one that runs tests.
_WITH_THE_TERMINAL = (
    *(sys.executable, "-I", "-S", "-c"),
    f"import fcntl, os, signal, sys; fcntl.ioctl(0, {termios.TIOCSCTTY}, 0);"
    "signal.signal(signal.SIGINT, signal.SIG_DFL); signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    "os.execvp(sys.argv[1], sys.argv[1:])",
)


class Terminal:
    """A `Terminal` starts one program as the leader of a session whose terminal has so many columns.

    `env` is all of the program's environment, but for TERM, which is xterm unless `env` names another. The
    program's output is decoded as UTF-8; a byte that is not is shown as \\xNN.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        columns: int = COLUMNS,
        rows: int = ROWS,
    ) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        try:
            self._process = subprocess.Popen(
                [*_WITH_THE_TERMINAL, *command],
                env={"TERM": "xterm", **env},
                cwd=cwd,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._shown = b""
        self._pressed_at: dict[str, int] = {}
        self._closing, self._close = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def shown(self) -> str:
        """Return all text the terminal has received so far, keys that it echoed included (`^C`)."""
        return self._shown.decode("utf-8", "backslashreplace").replace("\r\n", "\n")

    def until_shown(self, text: str, within_s: float = WITHIN_S) -> str:
        """Return all text shown, once `text` is there; raise an assertion error where the program ends
        without it."""
        deadline_s = time.monotonic() + within_s
        while text not in self.shown:
            if not self.running:
                self._reader.join(_POLL_S)
                assert self._reader.is_alive() or text in self.shown, f"ended without {text!r}:\n{self.shown}"
            assert time.monotonic() < deadline_s, f"not shown within {within_s:g} s: {text!r}:\n{self.shown}"
            time.sleep(_POLL_S)
        return self.shown

    def press(self, keys: str) -> None:
        """Type `keys`; `lines_after` returns what is shown from here on."""
        self._pressed_at[keys] = len(self._shown)
        os.write(self._ours, keys.encode())

    def lines_after(self, keys: str) -> list[str]:
        """Return the lines shown since `keys` were last pressed, without their echo and empty ones."""
        shown = self._shown[self._pressed_at[keys] :].decode("utf-8", "backslashreplace")
        echo = "".join(f"^{chr(ord(key) + 64)}" if ord(key) < 32 else key for key in keys)
        # A line that was drawn over is not shown any more.
        lines = (line.rpartition("\r\x1b[K")[2].strip("\r").removeprefix(echo) for line in shown.split("\n"))
        return [line for line in lines if line]

    def hang_up(self) -> None:
        """Close the terminal, as a window is closed: its session gets SIGHUP, and nothing can be written to
        it."""
        self._stop_reading()

    def exit_code(self, within_s: float = WITHIN_S) -> int:
        """Return its exit code, once it has ended and all its output is in `shown`; negative for a signal
        that killed it."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within_s:g} s:\n{self.shown}") from None
        # The last process of the session that holds the terminal may be a child that is left a moment longer.
        self._reader.join(WITHIN_S)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._stop_reading()

    def _read(self) -> None:
        waiting = select.poll()
        waiting.register(self._ours, select.POLLIN)
        waiting.register(self._closing, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in waiting.poll()]
            if self._closing in ready:
                return
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # EIO: no process has the terminal any more
                return
            self._shown += data

    def _stop_reading(self) -> None:
        if self._ours < 0:
            return
        os.close(self._close)
        self._reader.join()
        os.close(self._ours)
        os.close(self._closing)
        self._ours = -1
