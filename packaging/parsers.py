"""This module puts the parsers of the programs together into whole command lines, for completions and manual
pages.

It adds the kinds of values that a shell completes and that the parsers do not have.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping

import shtab

from minicloud.cli.admin import admin_parser
from minicloud.cli.backup import backup_parser, restore_parser
from minicloud.cli.dev import dev_parser
from minicloud.cli.events import events_parser
from minicloud.cli.health import health_parser
from minicloud.cli.licenses import licenses_parser
from minicloud.cli.parser import COMMANDS, Parser, serve_parser
from minicloud.cli.workers import stats_parser, workers_parser
from sim.program.cli import sim_parser

_PARSERS: Mapping[str, Callable[[], Parser]] = {
    "dev": dev_parser,
    "workers": workers_parser,
    "stats": stats_parser,
    "events": events_parser,
    "cordon": lambda: admin_parser("cordon"),
    "uncordon": lambda: admin_parser("uncordon"),
    "drain": lambda: admin_parser("drain"),
    "remove": lambda: admin_parser("remove"),
    "backup": backup_parser,
    "restore": restore_parser,
    "health": health_parser,
    "licenses": licenses_parser,
    "sim": sim_parser,
}

# These values are a few words; the programs check them later than the parsers.
WORDS: Mapping[str, tuple[str, ...]] = {
    "--log-level": ("debug", "info", "warning", "error"),
    "--log-format": ("auto", "json", "console"),
    "--status": ("healthy", "unhealthy", "draining"),
}
_FILES = {"FILE", "DIR", "FOLDER", "NAME|FILE"}

_LIST = "minicloud workers --timeout 2s 2>/dev/null | awk 'NR > 1 { print $1 }'"
# The ids of the registered workers come from the control plane that $MINICLOUD_URL names.
_WORKERS = {
    "bash": "_minicloud_workers",
    "zsh": "_minicloud_workers",
    "fish": "(_minicloud_workers)",
    "preamble": {
        "bash": f'_minicloud_workers() {{\n  compgen -W "$({_LIST})" -- "$1"\n}}',
        "zsh": f'_minicloud_workers() {{\n  local -a ids\n  ids=(${{(f)"$({_LIST})"}})\n  compadd -a ids\n}}',
        "fish": f"function _minicloud_workers\n  {_LIST}\nend",
    },
}


def commands() -> dict[str, Parser]:
    """Return the parser of each command of `minicloud`, in the order of its --help."""
    assert list(_PARSERS) == list(COMMANDS), "a command has no parser here"
    return {name: make() for name, make in _PARSERS.items()}


def minicloud() -> argparse.ArgumentParser:
    """Return `minicloud` with its commands below it, for completion."""
    parser = serve_parser()
    below = parser.add_subparsers(parser_class=argparse.ArgumentParser)
    for name, command in commands().items():
        _help_complete(command)
        below.add_parser(
            name, parents=[command], add_help=False, help=COMMANDS[name], description=COMMANDS[name]
        )
    _help_complete(parser)
    return parser


def minicloud_sim() -> argparse.ArgumentParser:
    """Return `minicloud-sim`, for completion."""
    parser = sim_parser()
    _help_complete(parser)
    return parser


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Return the arguments of the parser, in the order of its --help."""
    for group in parser._action_groups:
        yield from group._group_actions


def _help_complete(parser: argparse.ArgumentParser) -> None:
    """Give shtab the words, ids or files that each value may be."""
    for action in actions(parser):
        name = action.option_strings[-1] if action.option_strings else action.metavar
        if name in WORDS:
            action.choices = WORDS[str(name)]
        elif name == "ID":
            action.complete = _WORKERS  # type: ignore[attr-defined] # shtab's own
        elif action.metavar in _FILES:
            folder = action.metavar in {"FOLDER", "DIR"}
            action.complete = shtab.DIRECTORY if folder else shtab.FILE  # type: ignore[attr-defined]
