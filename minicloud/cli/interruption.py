"""Ctrl-C prints one line and ends the process with exit code 130 within a second, in every state (DESIGN 48).

KeyboardInterrupt alone is not enough. While modules are imported it may be raised inside a callback of the
interpreter's own, which prints it and goes on. Python runs a signal's handler only between two of its
instructions, so a call into C, such as the look-up of a name, delays it until the call returns. And standard
output may be a pipe that is full.

Always holds: a process that was started deaf to Ctrl-C, as shells start background jobs, stays so; the line
is written once (`tests/unit/cli/test_interruption.py`).
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from minicloud.cli import exits

# In this time a command can remove its unfinished output. A person accepts a second.
_GRACE_S = 0.7
_ROOM_WITHIN_MS = 100
_LINE = b"minicloud: interrupted\n"


def end_at_once_on_ctrl_c() -> None:
    """Have Ctrl-C end the process at once. This is for a process that has nothing to put in order."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def raise_on_ctrl_c() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_at_once(*_: object) -> NoReturn:
    """Write the line and end the process. No buffer is flushed, and no `finally` block runs."""
    report()
    os._exit(exits.INTERRUPTED)


def report() -> None:
    """Write the line to standard error, unless that stays full for 100 ms, which means that nothing
    reads it."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    with suppress(OSError):
        if poll.poll(_ROOM_WITHIN_MS):
            os.write(2, _LINE)


@contextmanager
def bounded(grace_s: float = _GRACE_S) -> Iterator[None]:
    """Have Ctrl-C end the process after `grace_s`, if the KeyboardInterrupt that it raises in the block has
    not.

    This is for the main thread, and not around `trio.run`: a process has one descriptor that its signals are
    written to, and Trio uses it too.
    """
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, grace_s), daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        raise  # the watch continues, as the process has not ended yet
    except BaseException:
        signal.set_wakeup_fd(before)
        os.close(theirs)
        raise
    signal.set_wakeup_fd(before)
    os.close(theirs)


def _watch(ours: int, grace_s: float) -> None:
    """Read the numbers of signals as they come, until the other end of the pipe is closed."""
    while numbers := os.read(ours, 64):
        if signal.SIGINT in numbers and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            threading.Event().wait(grace_s)
            end_at_once()
    os.close(ours)
