"""Where this worker can be reached: what it tells others, which is not always what it is bound to.

In this order: what `--advertise` says; the address the server is bound to, if it is one; the local address
from which packets to the control plane leave. Behind NAT or a published container port only the first is
right. Knows no interface names and sends no packet.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from minicloud.core.commands import check_endpoint
from minicloud.core.errors import ConfigError, InvalidError
from minicloud.worker.control_plane import ControlPlaneError

Route = Callable[[str, int], Awaitable[str]]

log = structlog.get_logger()


def endpoint_finder(
    advertise: str,
    bind_host: str,
    bind_port: int,
    control_planes: Sequence[str],
    route: Route | None = None,
) -> Callable[[], Awaitable[str]]:
    """A function that finds this worker's host:port ([address]:port for IPv6) each time it is called.

    `bind_port` is the port really bound. The function raises `ControlPlaneError` while there is no way to
    any of `control_planes`. Raises `ConfigError` at once for an `advertise` (empty: none) that is not
    host:port, or is an address nobody can reach.
    """
    if advertise:
        fixed = _checked(advertise)
    elif (bound := _address(bind_host)) is None or not bound.is_unspecified:
        # A loopback address too: a server bound to it can be reached on no other.
        fixed = host_port(bind_host, bind_port)
        if _is_loopback(bind_host) and not all(_is_loopback(_split(plane)[0]) for plane in control_planes):
            log.warning("endpoint_is_loopback", endpoint=fixed, remedy="set --host or --advertise")
    else:
        fixed = ""
    way = local_address_towards if route is None else route

    async def find() -> str:
        return fixed or host_port(await _first_way(control_planes, way), bind_port)

    return find


async def _first_way(control_planes: Sequence[str], route: Route) -> str:
    problems = []
    for plane in control_planes:
        try:
            return await route(*_split(plane))
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


def host_port(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _checked(advertise: str) -> str:
    try:
        check_endpoint(advertise)
    except InvalidError as error:
        raise ConfigError(f"--advertise: {error}") from None
    address = _address(_split(advertise)[0])
    if address is not None and address.is_unspecified:
        raise ConfigError(f"--advertise {advertise}: nobody can reach that address, give the one others use")
    return advertise


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`host` as an address, an empty one as any; None for a name."""
    try:
        return ipaddress.ip_address(host or "0.0.0.0")
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"
