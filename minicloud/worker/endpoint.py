"""Where this worker can be reached: what it tells others, which is not always what it is bound to.

In this order: what `--advertise` says; the address the server is bound to, if it is one; the local address
from which packets to the control plane leave. Behind NAT or a published container port only the first is
right. Knows no interface names and sends no packet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from minicloud.core.errors import ConfigError
from minicloud.net.address import Address, is_loopback, is_wildcard, parse_address
from minicloud.worker.control_plane import ControlPlaneError

Route = Callable[[str, int], Awaitable[str]]

log = structlog.get_logger()


def endpoint_finder(
    advertise: str,
    bind_host: str,
    bind_port: int,
    control_planes: Sequence[Address],
    route: Route | None = None,
) -> Callable[[], Awaitable[str]]:
    """A function that finds this worker's host:port ([address]:port for IPv6) each time it is called.

    `bind_port` is the port really bound. The function raises `ControlPlaneError` while there is no way to
    any of `control_planes`. Raises `ConfigError` at once for an `advertise` (empty: none) that is not
    host:port, or is an address nobody can reach.
    """
    if advertise:
        fixed = _checked(advertise)
    elif bind_host and not is_wildcard(bind_host):
        # A loopback address too: a server bound to it can be reached on no other.
        fixed = str(Address(bind_host, bind_port))
        if is_loopback(bind_host) and not all(is_loopback(plane.host) for plane in control_planes):
            log.warning("endpoint_is_loopback", endpoint=fixed, remedy="set --host or --advertise")
    else:
        fixed = ""
    way = local_address_towards if route is None else route

    async def find() -> str:
        return fixed or str(Address(await _first_way(control_planes, way), bind_port))

    return find


async def _first_way(control_planes: Sequence[Address], route: Route) -> str:
    problems = []
    for plane in control_planes:
        try:
            return await route(*plane)
        except (OSError, UnicodeError) as error:  # the latter for what cannot be a host name
            problems.append(f"{plane}: {getattr(error, 'strerror', None) or error}")
    raise ControlPlaneError(f"no way to the control plane ({'; '.join(problems)}): see --advertise")


async def local_address_towards(host: str, port: int) -> str:
    """The local address a packet to host:port would leave from. Raises OSError where there is no way.

    Connecting a datagram socket only looks up the route (udp(7), connect(2)); nothing is sent.
    """
    found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_DGRAM)
    problem: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            with trio.socket.socket(family, kind, protocol) as socket:
                await socket.connect(address)
                return str(socket.getsockname()[0])
        except OSError as error:
            problem = problem or error
    raise problem or OSError(f"{host} has no address")


def _checked(advertise: str) -> str:
    try:
        address = parse_address(advertise)
    except ValueError as error:
        raise ConfigError(f"--advertise: {advertise!r} {error}") from None
    if is_wildcard(address.host):
        raise ConfigError(f"--advertise {advertise}: nobody can reach that address, give the one others use")
    return advertise
