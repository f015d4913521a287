"""This module maps a command's name to the function that runs it. Imports wait until a command is run, as
`--help` needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from minicloud.cli.parser import COMMANDS, Parser, refuse_command

# Other packages add commands as entry points of this group. The simulator does so, as nothing here may import
# it (DESIGN 34).
_ADDED = "minicloud.commands"

# These commands run Trio, which handles their signals itself.
ON_TRIO = frozenset({"dev", "health", "sim"})

Command = Callable[[Sequence[str]], int]


def command_named(name: str) -> Command:
    """Import and return the function that runs the command `name`.

    The imports are plain ones, as PyInstaller does not see any other kind.
    """
    if name not in COMMANDS:
        refuse_command(name)
    if name == "dev":
        from minicloud.cli.dev import dev

        return dev
    if name == "workers":
        from minicloud.cli.workers import workers

        return workers
    if name == "stats":
        from minicloud.cli.workers import stats

        return stats
    if name == "events":
        from minicloud.cli.events import events

        return events
    if name == "backup":
        from minicloud.cli.backup import backup

        return backup
    if name == "restore":
        from minicloud.cli.backup import restore_registry

        return restore_registry
    if name == "health":
        from minicloud.cli.health import health

        return health
    if name == "licenses":
        from minicloud.cli.licenses import licenses

        return licenses
    if name == "sim":
        return _added(name)
    from minicloud.cli.admin import admin

    return partial(admin, name)


def _added(name: str) -> Command:
    """Return the function of a command that another installed package adds."""
    from importlib.metadata import entry_points

    found = list(entry_points(group=_ADDED, name=name))
    if not found:
        Parser("minicloud").error(f"the command {name} is not part of this installation")
    command: Command = found[0].load()
    return command
