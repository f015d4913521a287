"""`minicloud health` asks a control plane or a worker whether it may be sent requests, and answers by exit
code.

It is for container health checks and scripts. It uses the standard gRPC health service (DESIGN 18).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from random import SystemRandom

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.cli import exits
from minicloud.cli.exits import OperationError
from minicloud.cli.options import show_warnings, timeout_s
from minicloud.cli.parser import Parser, command_parser
from minicloud.config import control_plane_config, is_worker, worker_config
from minicloud.core.errors import ConfigError
from minicloud.log import configure
from minicloud.net.address import Address, parse_address, reached_by
from minicloud.rpc.channel import open_channel
from minicloud.wire.gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from minicloud.wire.gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus

_DETAILS = """\
Asks the standard gRPC health service. Without --address it asks, on this machine, the control plane or the
worker that the environment's settings (MINICLOUD_WORKER, MINICLOUD_PORT, MINICLOUD_CONFIG, ...) would start:
what the health check of a container wants.

exit codes: 0 it may be sent requests; 1 it may not, or does not answer; 2 the command line is wrong"""


def health_parser() -> Parser:
    """Return the parser of `minicloud health`."""
    parser = command_parser("health", _DETAILS)
    parser.add_argument("--address", metavar="HOST:PORT", help="the gRPC port to ask")
    parser.add_argument(
        "--timeout", metavar="DURATION", default="5s", help="wait this long for an answer (default: 5s)"
    )
    return parser


def health(arguments: Sequence[str]) -> int:
    """Run `minicloud health`."""
    options = health_parser().parse_args(arguments)
    within_s = timeout_s(options.timeout)
    addresses = [_given(options.address)] if options.address else _own(os.environ)
    shown = " or ".join(map(str, addresses))
    configure("error")  # the command prints one line at the end for any failure on the way
    status = trio.run(_status, addresses, shown, within_s)
    if status is not ServingStatus.SERVING:
        raise OperationError(
            f"{shown} answers, but is not to be sent requests: it is stopping, or cannot write its registry"
        )
    print(f"{shown} is serving")
    return exits.OK


async def _status(addresses: Sequence[Address], shown: str, within_s: float) -> ServingStatus:
    try:
        with trio.fail_after(within_s):
            async with open_channel(addresses, random=SystemRandom()) as channel:
                return (await channel.stub(HealthStub).check(HealthCheckRequest())).status
    except trio.TooSlowError:
        raise OperationError(f"no answer from {shown} within {within_s:g} s: is it overloaded?") from None
    except GRPCError as error:
        if error.status is Status.UNIMPLEMENTED:
            raise OperationError(f"{shown} has no health service: is that MiniCloud?") from None
        raise OperationError(
            f"cannot ask {shown}: {error.message}; is it running there? give another address with --address"
        ) from None


def _given(text: str) -> Address:
    try:
        return parse_address(text.strip())
    except ValueError:
        raise ConfigError(f"--address: {text!r} is not HOST:PORT: give e.g. 127.0.0.1:9090") from None


def _own(env: Mapping[str, str]) -> list[Address]:
    """Return the addresses by which this machine reaches the program that `env` configures."""
    if is_worker({}, env):
        worker, warnings = worker_config({}, env)
        hosts, port = worker.hosts, worker.port
    else:
        plane, warnings = control_plane_config({}, env)
        hosts, port = plane.hosts, plane.grpc_port
    show_warnings(warnings)
    if port == 0:
        raise ConfigError("the settings leave the port open (0): give --address HOST:PORT")
    return [Address(each, port) for host in hosts for each in reached_by(host)]
