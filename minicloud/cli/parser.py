"""This module has the parsers of the command line, and their --help. It runs nothing.

Settings come from `config.table`. Their values stay text here, as `config` reports a bad value, in the same
way for every source.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
from typing import NoReturn

from minicloud import __version__
from minicloud.cli import exits
from minicloud.cli.text import one_line
from minicloud.config.table import CONFIG_FILE_ENV, SETTINGS, WORKER_ENV, Role, Setting

COMMANDS: dict[str, str] = {
    "dev": "a control plane and three workers in this terminal; nothing is kept",
    "workers": "list the workers, or show one",
    "stats": "the cluster in a few lines",
    "events": "what happened to membership; -f follows it",
    "cordon": "give a worker no new work",
    "uncordon": "take a cordon or a drain back",
    "drain": "have a worker finish its queries and leave",
    "remove": "strike a worker off",
    "backup": "take a copy of the registry while the control plane runs",
    "restore": "bring a copy of the registry back",
    "health": "ask whether a control plane or a worker may be sent requests",
    "licenses": "show the licences of MiniCloud and of what its executable has inside",
    "sim": "the simulator; minicloud-sim is the same",
}

_USAGE = """minicloud [OPTION ...]            run the control plane
       minicloud --worker [OPTION ...]   run a worker
       minicloud COMMAND [...]           try it out, or look at and steer a running cluster"""

_DESCRIPTION = """\
MiniCloud keeps a query cluster's membership true: workers register, report health and leave; the control
plane knows at every moment who is there, how loaded each one is, and who must not be given work."""

_EXAMPLES = """\
examples:
  minicloud dev
      a whole cluster to try on this machine
  minicloud --host 0.0.0.0 --data-dir /var/lib/minicloud
      a control plane that other machines can reach
  minicloud --worker --host 0.0.0.0 --control-plane 10.0.0.5:9090
      a worker on another machine
  minicloud workers --status unhealthy
      who is missing

Every option can be set in the environment too: --grpc-port is MINICLOUD_GRPC_PORT. Options win over the
environment, this wins over the file (--config), and that over the defaults. Durations are written 500ms,
30s, 2m, 1.5h."""


class Parser(argparse.ArgumentParser):
    """A `Parser` is an argparse parser that reports an error in one line, and takes no abbreviations."""

    def __init__(
        self, prog: str, *, description: str = "", usage: str | None = None, epilog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and `message` in one line."""
        kind, _, rest = message.partition(": ")
        if kind == "unrecognized arguments":
            message = self._unrecognized(rest.split()[0])
        message = one_line(message.removeprefix("argument "))
        self.exit(exits.USAGE, f"minicloud: {message} (see {self.prog} --help)\n")

    def _unrecognized(self, word: str) -> str:
        if not word.startswith("-"):
            return (
                f"{word!r} comes first: minicloud {word} ..." if word in COMMANDS else f"unexpected {word!r}"
            )
        known = [name for name in self._option_string_actions if name.startswith("--")]
        option = word.partition("=")[0]  # the value may be a secret
        close = difflib.get_close_matches(option, known, n=1)
        return f"unknown option {option}" + (f": did you mean {close[0]}?" if close else "")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size((100, 24)).columns
        super().__init__(prog, max_help_position=32, width=max(60, min(columns, 108) - 2))


def serve_parser() -> Parser:
    """Return the parser of `minicloud` and `minicloud --worker`. Settings that were not given are absent."""
    commands = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    parser = Parser(
        "minicloud",
        usage=_USAGE,
        description=f"{_DESCRIPTION}\n\ncommands (each has its own --help):\n{commands}",
        epilog=f"{_EXAMPLES}\n\n{exits.SHOWN}",
    )
    _add_help(parser, version=True)
    groups = {
        Role.BOTH: parser.add_argument_group("control plane and worker"),
        Role.CONTROL_PLANE: parser.add_argument_group("control plane"),
        Role.WORKER: parser.add_argument_group("worker"),
    }
    both = groups[Role.BOTH]
    both.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"an application.yml to read settings from (environment: {CONFIG_FILE_ENV})",
    )
    groups[Role.WORKER].add_argument(
        "--worker",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help=f"run a worker instead of the control plane (environment: {WORKER_ENV}=true)",
    )
    for name, settings in _by_name().items():
        role = settings[0].role if len(settings) == 1 else Role.BOTH
        _add_setting(groups[role], name, settings[0])
    return parser


def command_parser(name: str, details: str = "") -> Parser:
    """Return the parser of one command, without the arguments that are its own."""
    parser = Parser(
        f"minicloud {name}",
        description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        epilog=details or None,
    )
    _add_help(parser)
    return parser


def operator_parser(name: str, details: str = "", *, json: bool = True) -> Parser:
    """Return the parser of a command that uses the REST interface of a running control plane."""
    parser = command_parser(name, details)
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the control plane's REST address (default: $MINICLOUD_URL, else http://127.0.0.1:8080)",
    )
    parser.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="a header to send with each request; again for several",
    )
    parser.add_argument(
        "--timeout", metavar="DURATION", default="10s", help="wait this long for an answer (default: 10s)"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print what the API answers, for programs")
    return parser


def refuse_command(word: str) -> NoReturn:
    """End with exit code 2 and suggest the command that may have been meant."""
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
    Parser("minicloud").error(f"unknown command {word!r}: {hint}")


def _add_help(parser: Parser, version: bool = False) -> None:
    parser.add_argument("-h", "--help", action="help", help="show this and exit")
    if version:
        parser.add_argument(
            "--version",
            action="version",
            version=f"minicloud {__version__}",
            help="show the version and exit",
        )


def _by_name() -> dict[str, list[Setting[object]]]:
    found: dict[str, list[Setting[object]]] = {}
    for setting in SETTINGS:
        if not setting.in_file_only:
            found.setdefault(setting.name, []).append(setting)
    return found


def _add_setting(group: argparse._ArgumentGroup, name: str, setting: Setting[object]) -> None:
    text = f"{setting.help} (default: {setting.shown_default})".replace("%", "%%")
    if setting.metavar:
        action = _Several if setting.several else "store"
        group.add_argument(
            setting.flag, metavar=setting.metavar, action=action, default=argparse.SUPPRESS, help=text
        )
        return
    group.add_argument(
        setting.flag,
        f"--no-{name}",
        dest=name,
        nargs=0,
        action=_YesOrNo,
        default=argparse.SUPPRESS,
        help=text,
    )


class _Several(argparse.Action):
    """A `_Several` turns `--x a --x b` into the text `a,b`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")


class _YesOrNo(argparse.Action):
    """A `_YesOrNo` turns `--x` and `--no-x` into the text `true` and `false`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, "false" if (option_string or "").startswith("--no-") else "true")
