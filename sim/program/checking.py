"""Refuses, before anything runs, options of `minicloud-sim` that contradict each other or have no effect.

Always holds: an option that is given has an effect, or is refused by name (tests/sim/test_options.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from minicloud.core.errors import MiniCloudError
from sim.options.values import suggestion
from sim.verdict.mutants import MUTANTS


class CannotRunError(MiniCloudError):
    """The command line asks for something impossible."""


_RUNS = ("workers", "scenario", "seed", "seeds", "duration", "fault", "depth")
_FOR_TARGET = ("ramp", "allow_remote")
# With each of these, the options that mean nothing.
_PASSED_OVER: dict[str, tuple[str, ...]] = {
    "replay": _RUNS,
    "check_determinism": ("shrink", "report", "json", "junit", "trace"),
    "target": (
        *("seeds", "depth", "mutate", "jobs", "until_failure", "check_determinism"),
        *("shrink", "report", "junit", "trace"),
    ),
}
_ALONE = ("list", "show")


def check_options(options: argparse.Namespace) -> None:
    """Refuse contradicting options. Raises `CannotRunError`."""
    given = [name for name, value in vars(options).items() if value not in (None, []) and value is not False]
    for alone in _ALONE:
        if alone in given and len(given) > 1:
            _refuse(alone, (name for name in given if name != alone))
    for with_it, passed_over in _PASSED_OVER.items():
        if with_it in given:
            _refuse(with_it, (name for name in given if name in passed_over))
    if "target" not in given:
        for name in given:
            if name in _FOR_TARGET:
                raise CannotRunError(f"{flag(name)} is for --target: leave it out, or name a --target")
    else:
        _check_target(options, given)
    if options.mutate and options.mutate not in MUTANTS:
        raise CannotRunError(f"no mutant {options.mutate!r}: {suggestion(options.mutate, list(MUTANTS))}")


def _check_target(options: argparse.Namespace, given: Iterable[str]) -> None:
    if len(options.scenario or ()) > 1:
        raise CannotRunError("--target takes one --scenario at a time: leave the others out")
    if "fault" in given and "scenario" not in given:
        raise CannotRunError("--fault with --target wants the --scenario to add it to, such as steady")


def flag(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"


def _refuse(with_it: str, names: Iterable[str]) -> None:
    for name in names:
        if with_it == "replay":
            raise CannotRunError(f"--replay runs what its file says: leave {flag(name)} out")
        raise CannotRunError(f"{flag(name)} is not for {flag(with_it)}: leave it out")
