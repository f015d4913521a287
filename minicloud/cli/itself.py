"""This program can start itself again: as a child of `minicloud dev`, or for the simulator."""

from __future__ import annotations

import sys
from collections.abc import Mapping

# A service manager sets these for the process that it started, and for no child of it.
_OF_ONE_PROCESS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# The variables of settings begin with these prefixes, of their own names and of the file's keys.
_SETTINGS = ("MINICLOUD_", "GRPC_SERVER_", "GRPC_CLIENT_")
# The executable's bootloader sets these for the process that it starts, and for no other.
_BOOTLOADER = "_PYI_"
_LIBRARIES = "LD_LIBRARY_PATH"
_LIBRARIES_BEFORE = "LD_LIBRARY_PATH_ORIG"


def minicloud_command() -> list[str]:
    """Return the command that runs minicloud again: the executable itself where this is one, else this
    Python."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "minicloud"]


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: `env` as it was before the bootloader changed it, without our
    settings.

    The bootloader points programs to libraries of ours. Settings, and the service manager's variables, are
    meant for one process and would reach all children.
    """
    meant_for_one = (*_SETTINGS, _BOOTLOADER, *_OF_ONE_PROCESS)
    kept = {name: value for name, value in env.items() if not name.startswith(meant_for_one)}
    if any(name.startswith(_BOOTLOADER) for name in env):
        kept.pop(_LIBRARIES, None)
        if (before := kept.pop(_LIBRARIES_BEFORE, None)) is not None:
            kept[_LIBRARIES] = before
    kept["PYINSTALLER_RESET_ENVIRONMENT"] = "1"  # a child of the executable unpacks itself anew (DESIGN 35)
    return kept
