"""From a command's name to what runs it. Imports wait for the command: `--help` needs none of them."""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.cli.parser import COMMANDS, refuse_command


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
    from minicloud.cli.admin import admin

    return admin(name, arguments)
