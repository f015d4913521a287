"""How this program starts itself again: as a child of `minicloud dev`, or for the simulator."""

from __future__ import annotations

import sys
from collections.abc import Mapping

# By which a service manager speaks to the process that it started, and to no child of it.
_OF_ONE_PROCESS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# Settings have these in front, by their own names and by those of the file's keys.
_SETTINGS = ("MINICLOUD_", "GRPC_SERVER_", "GRPC_CLIENT_")
# What the executable's bootloader sets for the process it starts, and for no other.
_BOOTLOADER = "_PYI_"
_LIBRARIES = "LD_LIBRARY_PATH"
_LIBRARIES_BEFORE = "LD_LIBRARY_PATH_ORIG"


def minicloud_command() -> list[str]:
    """What runs minicloud again: the executable itself where it is one, else this Python."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "minicloud"]


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` as a child is to see it: as ours was before the bootloader, which points programs to libraries
    of ours, changed it; and without settings of ours, and the service manager's, which are meant for one
    process and would reach all."""
    meant_for_one = (*_SETTINGS, _BOOTLOADER, *_OF_ONE_PROCESS)
    kept = {name: value for name, value in env.items() if not name.startswith(meant_for_one)}
    if any(name.startswith(_BOOTLOADER) for name in env):
        kept.pop(_LIBRARIES, None)
        if (before := kept.pop(_LIBRARIES_BEFORE, None)) is not None:
            kept[_LIBRARIES] = before
    kept["PYINSTALLER_RESET_ENVIRONMENT"] = "1"  # a child of the executable unpacks itself anew
    return kept
