"""What the executable runs: `minicloud`, or `minicloud-sim` where it is called by that name.

It runs as the child of a bootloader that has unpacked it, passes signals on to it and waits for its end. Here
is what makes the two look like one process.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

from kept_open import keep_open
from minicloud.cli.parent import death_signal


def main() -> int:
    """Run what the command line says; the exit code."""
    multiprocessing.freeze_support()  # a process of the simulator's pool goes no further than this
    bootloader = os.getppid()
    _end_with(bootloader)
    _leave_the_terminal_to_the_bootloader()
    keep_open()
    try:
        return _run()
    except Exception:
        # Left to the bootloader, it would add a line of its own and wait until somebody reads that.
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        _tidy_up_after(bootloader)


def _run() -> int:
    # Plain imports: PyInstaller follows no other kind.
    if Path(sys.argv[0]).name == "minicloud-sim":
        from sim.program.main import main as minicloud_sim

        return minicloud_sim()
    from minicloud.__main__ import main as minicloud

    return minicloud()


def _end_with(bootloader: int) -> None:
    """Be told to end when the bootloader is killed: nobody could reach this process any more."""
    request = death_signal()
    if request is None:
        return

    def end(number: int, _: object) -> None:
        _tidy_up_after(bootloader)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, end)  # for programs that have no handler of their own
    request()
    if not _is_bootloader(bootloader):  # it died before that, and somebody else is the parent
        _tidy_up()
        sys.exit(1)


def _is_bootloader(pid: int) -> bool:
    """Does that process have the very arguments that this one has?"""
    try:
        ours = Path("/proc/self/cmdline").read_bytes()
    except OSError:
        return True  # there is no /proc to look into
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == ours
    except OSError:
        return False


def _leave_the_terminal_to_the_bootloader() -> None:
    """Get the terminal's Ctrl-C once. It goes to all of a process group, so the bootloader passes on what
    this process has had already; and a second Ctrl-C means: at once."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # `stty tostop` keeps other groups from writing


def _tidy_up_after(bootloader: int) -> None:
    if os.getppid() != bootloader:
        _tidy_up()


def _tidy_up() -> None:
    """Remove what was unpacked, as the bootloader does where it lives."""
    shutil.rmtree(str(getattr(sys, "_MEIPASS")), ignore_errors=True)  # noqa: B009 (mypy knows no such name)


if __name__ == "__main__":
    sys.exit(main())
