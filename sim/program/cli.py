"""The command line of `minicloud-sim`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from minicloud import __version__
from minicloud.cli.parser import Parser
from sim.scenario.flags import HELP as FAULT_HELP

HELD, BROKEN, INCONCLUSIVE, NOT_DETERMINISTIC, COULD_NOT_RUN = 0, 1, 2, 3, 4

MOST_RUNS = 100_000  # of one command

# What runs where no scenario is named: nothing wrong, failover of the control plane, and partitions.
STANDING = ("steady", "control-plane-crash", "partition")

_DESCRIPTION = """\
Runs MiniCloud's own control plane and workers, thousands of them, on virtual clocks; cuts their network,
kills and stops them, breaks their disks and clocks; and checks every promise of membership meanwhile. One
seed is one run, on any machine."""

_EXAMPLES = f"""\
examples:
  minicloud-sim
      the standing set: {", ".join(STANDING)}
  minicloud-sim --workers 5000 --scenario partition --report report
      five thousand workers, and a page to look at
  minicloud-sim --scenario swarm --seeds 1..200 --jobs 2
      two hundred runs of what nobody thought of
  minicloud-sim --scenario steady --fault loss=20% --fault crash=random:10%,at=1m,for=5m
      faults of your own
  minicloud-sim --scenario swarm --seed 17 --shrink
      the smallest schedule that still breaks the promise
  minicloud-sim --show partition > mine.toml
      a scenario to start one of your own from; --show format has all that it may have

exit codes:
  0    every promise held
  1    a promise was broken
  2    inconclusive: something that had to happen (a probe) never did
  3    two runs of one seed differed (--check-determinism)
  4    could not run: the command line, a file or the machine is in the way
  130  interrupted with Ctrl-C; 143 by SIGTERM, 129 by SIGHUP. The results of runs that
       are over are printed and written"""


class SimParser(Parser):
    """Parses as minicloud's own parser does, but exits with 4 for a wrong command line: 2 is an outcome
    here."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(
            COULD_NOT_RUN if status else 0, message and message.replace("minicloud:", "minicloud-sim:", 1)
        )


def sim_parser() -> SimParser:
    """The parser of `minicloud-sim`."""
    parser = SimParser("minicloud-sim", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("-h", "--help", action="help", help="show this and exit")
    parser.add_argument(
        "--version",
        action="version",
        version=f"minicloud-sim {__version__}",
        help="show the version and exit",
    )
    what = parser.add_argument_group("what runs")
    what.add_argument(
        "--workers",
        metavar="N",
        type=_number(1, 1_000_000),
        help="how many workers (default: the scenario's, mostly 50)",
    )
    what.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        action="append",
        help="a built-in scenario or a TOML file; again for several (default: the standing set)",
    )
    what.add_argument(
        "--list", action="store_true", help="list scenarios, faults, probes and mutants, and exit"
    )
    what.add_argument(
        "--show",
        metavar="NAME",
        help="print a built-in scenario, as an example; --show format describes what a scenario may have",
    )
    seeds = what.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed",
        metavar="N",
        type=_number(0, 2**63 - 1),
        help="what all chance comes from (default: 1)",
    )
    seeds.add_argument("--seeds", metavar="A..B", type=_range, help="one run for each seed from A to B")
    what.add_argument(
        "--duration", metavar="DURATION", help="virtual time of a run, as in 20m (default: the scenario's)"
    )
    what.add_argument("--fault", metavar="KIND=VALUE", action="append", default=[], help=FAULT_HELP)
    what.add_argument(
        "--depth",
        choices=("messages", "wire"),
        help="what crosses the network: messages, or bytes of the whole gRPC stack (default: messages)",
    )
    what.add_argument(
        "--replay", metavar="FILE", help="run the schedule in FILE, as --report and --shrink write them"
    )
    what.add_argument(
        "--mutate",
        metavar="NAME",
        help="run with a known bug in the production code, which the oracle has to see",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--jobs",
        metavar="N",
        type=_number(1, 1024),
        help="runs at once (default: one a processor)",
    )
    how.add_argument("--until-failure", action="store_true", help="stop at the first promise broken")
    how.add_argument(
        "--check-determinism",
        action="store_true",
        help="run twice in processes that hash differently, and compare every event",
    )
    how.add_argument(
        "--shrink",
        action="store_true",
        help="where a promise is broken, look for the smallest schedule that breaks it",
    )
    out = parser.add_argument_group("what is written")
    out.add_argument("--report", metavar="DIR", help="a page for a browser, and the schedules")
    out.add_argument("--json", metavar="FILE", help="figures for programs (-: standard output)")
    out.add_argument("--junit", metavar="FILE", help="results for a CI system")
    out.add_argument("--trace", metavar="FILE", help="every event, one a line (of a single run)")
    real = parser.add_argument_group("against a running control plane, in real time")
    real.add_argument("--target", metavar="HOST:PORT", help="its gRPC address; real sockets, one a worker")
    real.add_argument("--ramp", metavar="DURATION", help="start the workers over this time (default: 10s)")
    real.add_argument(
        "--allow-remote", action="store_true", help="let --target be another machine than this one"
    )
    return parser


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return number


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        least, most = (_SEED(each) for each in (first, last))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of seeds, as in 1..200") from None
    if not dots or least > most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of seeds, as in 1..200")
    if most - least >= MOST_RUNS:
        raise argparse.ArgumentTypeError(f"{text!r} has more than {MOST_RUNS:,} seeds: run them in parts")
    return range(least, most + 1)


_SEED = _number(0, 2**63 - 1)
