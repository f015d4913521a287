"""The manual pages are made of the parsers' own help: a page has the text of --help, and the places of files.

argparse-manpage was tried: it runs our usage lines, examples and exit codes into paragraphs (DESIGN 44).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator

from minicloud import __version__
from minicloud.cli.address import DEFAULT_URL
from minicloud.cli.parser import COMMANDS, serve_parser
from minicloud.config.table import CONFIG_FILE_ENV, SETTINGS, URL_ENV, WORKER_ENV
from parsers import actions, commands
from sim.program.cli import sim_parser

_HEADINGS = {"examples": "EXAMPLES", "exit codes": "EXIT STATUS"}

_FILES = (
    (
        "~/.local/state/minicloud/control-plane/registry.db",
        "the registry, unless --data-dir, $STATE_DIRECTORY or $XDG_STATE_HOME says otherwise; a service's is "
        "/var/lib/minicloud/control-plane/registry.db",
    ),
    (
        "~/.local/state/minicloud/worker-PORT/instance_id",
        "by which a worker gets its id back; a service's is under /var/lib/minicloud-worker-PORT",
    ),
    (
        "/etc/minicloud/control-plane.env, worker.env, worker-PORT.env",
        "settings of the services minicloud and minicloud-worker@PORT",
    ),
)


def minicloud_1() -> str:
    """Return the page minicloud(1)."""
    parser = serve_parser()
    description = str(parser.description).partition("\n\n")[0]
    return _page(
        "minicloud",
        "cluster membership for distributed query clusters",
        [
            *_section("SYNOPSIS", _usage(str(parser.usage))),
            *_section("DESCRIPTION", [_text(description)]),
            *_section("OPTIONS", _options(parser)),
            *_section("COMMANDS", _commands()),
            *_epilog(str(parser.epilog)),
            *_section("ENVIRONMENT", _environment()),
            *_section("FILES", _pairs(_FILES)),
            *_section("SEE ALSO", [r".BR minicloud\-sim (1)"]),
        ],
    )


def minicloud_sim_1() -> str:
    """Return the page minicloud-sim(1)."""
    parser = sim_parser()
    return _page(
        "minicloud-sim",
        "run and try a whole MiniCloud cluster in one process",
        [
            *_section("SYNOPSIS", _usage("minicloud-sim [OPTION ...]")),
            *_section("DESCRIPTION", [_text(str(parser.description))]),
            *_section("OPTIONS", _options(parser)),
            *_epilog(str(parser.epilog)),
            *_section("SEE ALSO", [r".BR minicloud (1)"]),
        ],
    )


def _page(name: str, summary: str, lines: Iterable[str]) -> str:
    head = [
        ".\\\" Made of the programs' own help: see packaging/manual.py, and run make docs.",
        f'.TH {_text(name.upper())} 1 "" "MiniCloud {__version__}"',
        ".SH NAME",
        f"{_text(name)} \\- {summary}",
    ]
    return "\n".join([*head, *lines, ""])


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _usage(usage: str) -> Iterator[str]:
    """Return a line for each form of the command, with its effect."""
    for line in usage.splitlines():
        call, _, does = re.sub(r" {3,}", "\t", line.strip()).partition("\t")
        program, *rest = call.split(" ", 1)
        if does:
            yield ".TP"
        yield f".B {_text(program)} \\fR{_text(''.join(rest))}"
        if does:
            yield _text(does)


def _options(parser: argparse.ArgumentParser, level: str = ".SS") -> Iterator[str]:
    for group in parser._action_groups:
        if not group._group_actions:
            continue
        if level and group.title not in ("options", "positional arguments"):
            yield f"{level} {_text(str(group.title)).capitalize()}"
        for action in group._group_actions:
            yield from _option(action)


def _option(action: argparse.Action) -> Iterator[str]:
    value = (
        "" if action.nargs == 0 or action.metavar in (None, "") else f" \\fI{_text(str(action.metavar))}\\fR"
    )
    names = [f"\\fB{_text(name)}\\fR{value}" for name in action.option_strings]
    yield ".TP"
    yield ", ".join(names) or value.strip()
    yield _text(str(action.help).replace("%%", "%"))


def _commands() -> Iterator[str]:
    for name, parser in commands().items():
        operands = [
            f" [{action.metavar}]" if action.nargs == "?" else f" {action.metavar}"
            for action in actions(parser)
            if not action.option_strings
        ]
        yield f".SS minicloud {name}{_text(''.join(operands))} [OPTION ...]"
        yield _text(f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.")
        yield from _options(parser, level="")
        if parser.epilog:
            yield ".PP"
            yield from _as_it_is(parser.epilog)


def _epilog(epilog: str) -> Iterator[str]:
    """Return the text that follows the options in --help, each part under a heading of its own."""
    for part in epilog.split("\n\n"):
        first, _, rest = part.partition("\n")
        heading = _HEADINGS.get(first.removesuffix(":"))
        if heading is None:
            yield ".SH NOTES"
            yield _text(part)
        else:
            yield f".SH {heading}"
            yield from _as_it_is(rest)


def _as_it_is(text: str) -> list[str]:
    return [".nf", *(_text(line) or ".sp" for line in text.splitlines()), ".fi"]


def _environment() -> Iterator[str]:
    variables = {
        CONFIG_FILE_ENV: "as --config",
        WORKER_ENV: "true: as --worker",
        **{setting.env: f"as {setting.flag}" for setting in SETTINGS if not setting.in_file_only},
        URL_ENV: f"where the commands find the control plane (default: {DEFAULT_URL})",
        "NO_COLOR": "anything: no colours",
    }
    return _pairs(variables.items())


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in pairs:
        yield ".TP"
        yield f".B {_text(name)}"
        yield _text(text)


def _text(text: str) -> str:
    """Return `text` so that troff takes it literally."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())
