"""`minicloud licenses` prints the licence texts of MiniCloud and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import distribution
from importlib.resources import files

from minicloud.cli import exits
from minicloud.cli.parser import Parser, command_parser

_DETAILS = """\
The executable has parts by others inside; this shows the licence texts of all of them, some 400 KB. In an
installation by pip, the other packages are installed beside MiniCloud, each with its own licence."""

# Only the executable has this file, which its build makes (DESIGN 37).
_ALL_TEXTS = "licenses.txt"


def licenses_parser() -> Parser:
    """Return the parser of `minicloud licenses`."""
    return command_parser("licenses", _DETAILS)


def licenses(arguments: Sequence[str]) -> int:
    """Run `minicloud licenses`."""
    licenses_parser().parse_args(arguments)
    all_texts = files("minicloud") / _ALL_TEXTS
    print(all_texts.read_text(encoding="utf-8") if all_texts.is_file() else _own(), end="")
    return exits.OK


def _own() -> str:
    """Return MiniCloud's own licence, from its installation."""
    installed = distribution("minicloud").files or ()
    return "".join(file.read_text(encoding="utf-8") for file in installed if file.name == "LICENSE")
