"""From a command's name to what runs it. Imports wait for the command: `--help` needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from minicloud.cli.parser import COMMANDS, Parser, refuse_command

# What other packages add as entry points. The simulator stands above everything here and is imported by
# nothing here; so it says by its own installation where its command is.
_ADDED = "minicloud.commands"

# Those that run Trio, which looks after their signals itself.
ON_TRIO = frozenset({"dev", "health", "sim"})

Command = Callable[[Sequence[str]], int]


def command_named(name: str) -> Command:
    """Import and return what runs the command `name`.

    The imports are plain ones: PyInstaller does not see any other kind.
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
    """What runs a command that another installed package adds."""
    from importlib.metadata import entry_points

    found = list(entry_points(group=_ADDED, name=name))
    if not found:
        Parser("minicloud").error(f"the command {name} is not part of this installation")
    command: Command = found[0].load()
    return command
