"""`minicloud dev` starts a whole cluster to try, on this machine, and keeps no data."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

import trio

from minicloud.cli.cluster import Cluster
from minicloud.cli.itself import child_environment, minicloud_command
from minicloud.cli.output import STDERR, STDOUT, output_error
from minicloud.cli.parser import Parser, command_parser
from minicloud.cli.ports import Ports, choose_ports
from minicloud.config.table import GRPC_PORT, HEARTBEAT_INTERVAL, Setting
from minicloud.lines import LineQueue, QueuedText, stand_in_for_stderr

MOST_WORKERS = 100
# Ctrl-C has a second for everything that has to end (DESIGN 48).
_FLUSH_S = 0.2

_DETAILS = """\
Ctrl-C ends it. Where a port is taken, a free one is used and said. Try, in another terminal:
  minicloud workers
  minicloud events -f
  minicloud drain worker-1 --wait
and end a worker with kill -9 to see it noticed."""


def dev_parser() -> Parser:
    """Return the parser of `minicloud dev`."""
    parser = command_parser("dev", _DETAILS)
    parser.add_argument(
        "--workers", metavar="N", type=_count, default=3, help="how many workers (default: 3)"
    )
    parser.add_argument(
        "--heartbeat-interval",
        metavar="DURATION",
        type=_checked(HEARTBEAT_INTERVAL),
        default="5s",
        help="how often they report; four times this without a word is UNHEALTHY (default: 5s)",
    )
    for whose, port in (("grpc", "9090"), ("http", "8080"), ("worker", "9091")):
        parser.add_argument(
            f"--{whose}-port",
            metavar="PORT",
            type=_checked(GRPC_PORT),
            default=port,
            help=f"(default: {port}{'; the others follow' if whose == 'worker' else ''})",
        )
    return parser


def dev(arguments: Sequence[str]) -> int:
    """Run `minicloud dev`."""
    options = dev_parser().parse_args(arguments)
    first = int(options.worker_port)
    worker_ports = tuple(first + number if first else 0 for number in range(options.workers))
    wanted = Ports(int(options.grpc_port), int(options.http_port), worker_ports)
    ports, notices = choose_ports(wanted)
    # The children's lines pass through this process, which must not wait for a reader (DESIGN 77).
    stand_in_for_stderr(LineQueue(STDERR))
    queue = LineQueue(STDOUT)
    out = QueuedText(queue, STDOUT, output_error)
    cluster = Cluster(minicloud_command(), child_environment(os.environ), out)
    try:
        code = trio.run(cluster.run, ports, options.heartbeat_interval, notices)
    finally:
        queue.close(_FLUSH_S)
    out.check()
    return code


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 0 <= int(text) <= MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a count from 0 to {MOST_WORKERS}")
    return int(text)


def _checked(setting: Setting[object]) -> Callable[[str], str]:
    """Return an argparse type that accepts the values that `setting` accepts."""

    def check(text: str) -> str:
        try:
            setting.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
        return text

    return check
