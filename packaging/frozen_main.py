"""The executable runs this: `minicloud`, or `minicloud-sim` where it is called by that name (DESIGN 35).

It is the child of a bootloader that has unpacked it, passes signals on to it and waits for its end. The code
here makes the two look like one process.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

from kept_open import keep_open
from minicloud.process.parent import death_signal


def main() -> int:
    """Run the command line and return the exit code."""
    multiprocessing.freeze_support()  # a process of the simulator's pool stops here
    bootloader = os.getppid()
    _end_with(bootloader)
    _leave_the_terminal_to_the_bootloader()
    keep_open()
    try:
        return _run()
    except Exception:
        # The bootloader would add a line of its own and wait until it is read.
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        _tidy_up_after(bootloader)


def _run() -> int:
    # The imports are plain, as PyInstaller follows no other kind.
    if Path(sys.argv[0]).name == "minicloud-sim":
        from sim.program.main import main as minicloud_sim

        return minicloud_sim()
    from minicloud.__main__ import main as minicloud

    return minicloud()


def _end_with(bootloader: int) -> None:
    """Have the kernel send SIGTERM when the bootloader is killed, as this process could not be reached any
    more."""
    request = death_signal()
    if request is None:
        return

    def end(number: int, _: object) -> None:
        _tidy_up_after(bootloader)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, end)  # for programs without a handler of their own
    request()
    if not _is_bootloader(bootloader):  # it died before the request, and this process has another parent
        _tidy_up()
        sys.exit(1)


def _is_bootloader(pid: int) -> bool:
    """Return True if that process has the same arguments as this one."""
    try:
        ours = Path("/proc/self/cmdline").read_bytes()
    except OSError:
        return True  # the system has no /proc
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == ours
    except OSError:
        return False


def _leave_the_terminal_to_the_bootloader() -> None:
    """Leave the terminal's process group, so that Ctrl-C arrives once, through the bootloader.

    It goes to all processes of a group, and the bootloader passes it on. A second one would end the program
    at once.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # `stty tostop` keeps other groups from writing


def _tidy_up_after(bootloader: int) -> None:
    if os.getppid() != bootloader:
        _tidy_up()


def _tidy_up() -> None:
    """Remove the unpacked files, as a bootloader that is alive does."""
    shutil.rmtree(str(getattr(sys, "_MEIPASS")), ignore_errors=True)  # noqa: B009 (mypy knows no such name)


if __name__ == "__main__":
    sys.exit(main())
