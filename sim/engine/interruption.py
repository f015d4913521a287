"""The signals that end the simulator: Ctrl-C, SIGTERM, and the SIGHUP of a terminal that closes.

    with Interruption() as interruption:  # a signal ends the process in one line
        ...
        interruption.deliver()            # from here on a signal raises `Interrupted`

A handler runs between any two instructions of the main thread. An exception raised there may hit Trio's
scheduler, or code that swallows it. So a run of the simulator registers a function by `given_up_by`: the
handler calls it and raises nothing, and the run ends at its next step. Where no step ends within
`PATIENCE_S`, the exception is raised where the program is.

Always holds: a handler uses no clock that a run may have patched; a second signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic  # bound before a run can patch it
from types import FrameType, TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PATIENCE_S = 0.25

# `timeout`, a terminal and the executable's outer process may each pass on the same signal.
_ECHO_S = 0.1

GiveUp = Callable[["Interrupted"], None]
_given_up_by: list[GiveUp] = []


class Interrupted(KeyboardInterrupt):
    """A signal has ended the simulator. `during` describes, for a person, the work that it ended and the
    results that are kept."""

    def __init__(self, number: int, during: str = "") -> None:
        super().__init__(number, during)
        self.number = number
        self.during = during

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells count: 130 for Ctrl-C."""
        return 128 + self.number

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        how = "interrupted" if self.number == signal.SIGINT else f"ended by {name}"
        return f"{how}{self.during and ': '}{self.during}"


class Interruption:
    """Handles the signals in `ENDING` while it is entered.

    Signals that the process was started to ignore, as by nohup, stay ignored. Outside the main thread, where
    Python handles no signal, it does nothing.
    """

    def __init__(self) -> None:
        self.error: Interrupted | None = None  # of the first signal
        self._delivers = False
        self._first_s = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._on_signal)
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def deliver(self) -> None:
        """Raise `Interrupted` for a signal from now on, as there may be results to keep."""
        self._delivers = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.error is not None:
            if monotonic() - self._first_s > _ECHO_S:
                os._exit(self.error.exit_code)
            return
        self._first_s = monotonic()
        self.error = Interrupted(number)
        if not self._delivers:
            # An exception in the middle of an import may be printed instead of raised.
            write_line(f"minicloud-sim: {self.error}")
            os._exit(self.error.exit_code)
        if not _given_up_by:
            raise self.error
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        _given_up_by[-1](self.error)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.error is not None:
            raise self.error


@contextmanager
def given_up_by(give_up: GiveUp) -> Iterator[None]:
    """Have the first signal in this block call `give_up` with the exception to raise at the next step."""
    _given_up_by.append(give_up)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _given_up_by.remove(give_up)


@contextmanager
def finished_first() -> Iterator[None]:
    """Delay `Interrupted` to the end of the block, so that a file is written as a whole."""
    put_off: list[Interrupted] = []
    with given_up_by(put_off.append):
        yield
    if put_off:
        raise put_off[0]


def write_line(text: str) -> None:
    """Write one line to standard error, past the buffer that the main program may be writing to.

    On a terminal it begins at the left, over the `^C` that the terminal echoes. A closed standard error is
    ignored.
    """
    try:
        start = "\r" if os.isatty(2) else ""
        os.write(2, f"{start}{text}\n".encode("ascii", "backslashreplace"))
    except OSError:
        pass
