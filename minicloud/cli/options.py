"""This module parses values of options that several commands have, and prints warnings about them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from minicloud.cli.output import note
from minicloud.config.durations import parse_duration_s
from minicloud.core.errors import ConfigError


def id_argument(text: str) -> str:
    """Return the worker id of a command line, but refuse a misspelt option: argparse passes an option with a
    space in its value as the id."""
    if text.startswith("-"):
        raise argparse.ArgumentTypeError(f"there is no option {text.partition('=')[0]}")
    return text


def duration_s(flag: str, text: str) -> float:
    """Return the seconds of the duration `text` that `flag` was given; raises `ConfigError`."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {text!r} {error}") from None


def timeout_s(text: str) -> float:
    """Return the seconds of a --timeout, more than 0; raises `ConfigError`."""
    seconds = duration_s("--timeout", text)
    if not seconds:
        raise ConfigError("--timeout: give more than 0")
    return seconds


def show_warnings(warnings: Iterable[str]) -> None:
    """Print each of `warnings` as a line on standard error."""
    for warning in warnings:
        note(warning)
