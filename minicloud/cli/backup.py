"""`minicloud backup` copies the registry to a file, and `minicloud restore` puts a copy back in place.

A running control plane has its file to itself, so it makes the copy (DESIGN 42). Where none runs, the folder
is read. A registry is never replaced under a running control plane (DESIGN 43).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from minicloud.cli import exits
from minicloud.cli.exits import OperationError
from minicloud.cli.options import show_warnings
from minicloud.cli.parser import Parser, command_parser, operator_parser
from minicloud.cli.rest import Rest
from minicloud.cli.workers import utc
from minicloud.config import control_plane_config, prepare_data_dir
from minicloud.core.errors import ConfigError, StoreError
from minicloud.store.sqlite.backup import Contents, back_up_at_rest, check, look_into, restore
from minicloud.store.sqlite.copies import put_in_place
from minicloud.store.sqlite.opening import REGISTRY_NAME

_BACKUP = """\
The running control plane makes the copy, consistent and complete, while it goes on. It is checked before it
gets its name. With --data-dir the copy is made of a control plane that does not run.

  minicloud backup /var/backups/minicloud-$(date +%F).db"""

_RESTORE = """\
For a control plane that does not run: stop it first. The copy is checked before anything is changed, and
the registry in its place is kept beside it. Workers that registered since the copy was made register again
by themselves at their next heartbeat.

  systemctl stop minicloud
  minicloud restore /var/backups/minicloud-2026-11-24.db --data-dir /var/lib/minicloud/control-plane
  systemctl start minicloud"""


def backup_parser() -> Parser:
    """Return the parser of `minicloud backup`."""
    parser = operator_parser("backup", _BACKUP, json=False)
    parser.add_argument("file", metavar="FILE", help="where to put the copy; nothing may be there yet")
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        help="copy the registry in this data folder, of no running control plane",
    )
    return parser


def restore_parser() -> Parser:
    """Return the parser of `minicloud restore`."""
    parser = command_parser("restore", _RESTORE)
    parser.add_argument("file", metavar="FILE", help="a copy that minicloud backup made")
    parser.add_argument(
        "--data-dir",
        metavar="FOLDER",
        help="the control plane's data folder (default: as the control plane's)",
    )
    parser.add_argument("--config", metavar="FILE", help="the control plane's application.yml")
    parser.add_argument("--check", action="store_true", help="only say whether it could be brought back")
    return parser


def backup(arguments: Sequence[str]) -> int:
    """Run `minicloud backup`."""
    parser = backup_parser()
    options = parser.parse_args(arguments)
    if options.data_dir and options.url:
        parser.error("--data-dir is for a control plane that does not run: leave out --url")
    target = Path(options.file)
    if target.exists():
        raise OperationError(f"{target} is there already: name another file, or remove it first")
    try:
        if options.data_dir:
            contents = back_up_at_rest(Path(options.data_dir) / REGISTRY_NAME, target)
        else:
            rest = Rest.of(options)
            found: list[Contents] = []
            put_in_place(target, lambda unfinished: found.append(_download(rest, unfinished)), replaces=False)
            (contents,) = found
    except StoreError as error:
        raise OperationError(str(error)) from error
    print(f"{target} holds {_shown(contents)}")
    return exits.OK


def restore_registry(arguments: Sequence[str]) -> int:
    """Run `minicloud restore`."""
    options = restore_parser().parse_args(arguments)
    source = Path(options.file)
    try:
        if options.check:
            with tempfile.TemporaryDirectory() as folder:
                contents = check(source, Path(folder) / REGISTRY_NAME)
            print(f"{source} can be brought back: it holds {_shown(contents)}")
            return exits.OK
        data_dir = _data_dir(options.data_dir, options.config)
        contents, old = restore(source, data_dir / REGISTRY_NAME, datetime.now(UTC))
    except StoreError as error:
        raise OperationError(str(error)) from error
    print(f"{data_dir / REGISTRY_NAME} now holds {_shown(contents)}")
    if old is not None:
        print(f"what was there before is {old}")
    return exits.OK


def _download(rest: Rest, unfinished: Path) -> Contents:
    with unfinished.open("wb") as file:
        for piece in rest.pieces("/api/registry/backup"):
            file.write(piece)
    return look_into(unfinished)


def _data_dir(given: str | None, config_file: str | None) -> Path:
    flags = {name: text for name, text in (("data-dir", given), ("config", config_file)) if text}
    config, warnings = control_plane_config(flags, os.environ)
    show_warnings(warnings)
    if config.data_dir is None:
        raise ConfigError("the control plane keeps nothing (--data-dir none): name a folder with --data-dir")
    prepare_data_dir(config.data_dir)
    return config.data_dir


def _shown(contents: Contents) -> str:
    until = f", the last of {utc(contents.newest_ms)}" if contents.newest_ms else ""
    return (
        f"{contents.workers:,} workers, {contents.entries:,} events{until} "
        f"({contents.size_bytes / 1024:,.0f} KiB, schema {contents.schema})"
    )
