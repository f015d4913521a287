"""From a command's name to what runs it. Imports wait for the command: `--help` needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minicloud.cli.parser import COMMANDS, Parser, refuse_command

# What other packages add as entry points. The simulator stands above everything here and is imported by
# nothing here; so it says by its own installation where its command is.
_ADDED = "minicloud.commands"


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run the command `name`; the exit code. Plain imports: PyInstaller does not see any other kind."""
    if name not in COMMANDS:
        refuse_command(name)
    if name == "dev":
        from minicloud.cli.dev import dev

        return dev(arguments)
    if name == "workers":
        from minicloud.cli.workers import workers

        return workers(arguments)
    if name == "stats":
        from minicloud.cli.workers import stats

        return stats(arguments)
    if name == "events":
        from minicloud.cli.events import events

        return events(arguments)
    if name == "backup":
        from minicloud.cli.backup import backup

        return backup(arguments)
    if name == "restore":
        from minicloud.cli.backup import restore_registry

        return restore_registry(arguments)
    if name == "health":
        from minicloud.cli.health import health

        return health(arguments)
    if name == "sim":
        return int(_added(name)(arguments))
    from minicloud.cli.admin import admin

    return admin(name, arguments)


def _added(name: str) -> Callable[[Sequence[str]], Any]:
    """What runs a command that another installed package adds."""
    from importlib.metadata import entry_points

    found = list(entry_points(group=_ADDED, name=name))
    if not found:
        Parser("minicloud").error(f"the command {name} is not part of this installation")
    command: Callable[[Sequence[str]], Any] = found[0].load()
    return command
