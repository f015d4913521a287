"""This module finds the host:port at which others reach this worker, which is not always its bound address.

The first of these counts: the one given with `--advertise`; the host the server is bound to, where that is a
single one; this end's address of the connection to the control plane, where the server listens on it (DESIGN
53); the nearest to that among the addresses listened on. Behind NAT or a published container port only the
first is right.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence

import trio

from minicloud.net.address import Address, family_of, is_loopback, is_wildcard

# Addresses for documentation (RFC 5737, RFC 3849): the route to them is the route to other networks.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

LocalAddress = Callable[[], Awaitable[Address | None]]
Route = Callable[[socket.AddressFamily], Awaitable[str | None]]


class EndpointFinder:
    """This finds the worker's endpoint again at each call.

    `hosts` are the names and addresses that the server was configured to listen on, `bound` the addresses it
    listens on. `connection` returns this end's address of the connection to the control plane; its
    `ControlPlaneError` is passed on.
    """

    def __init__(
        self,
        advertise: str,
        hosts: Sequence[str],
        bound: Sequence[Address],
        connection: LocalAddress,
        route: Route | None = None,
    ) -> None:
        self._bound = tuple(bound)
        self._connection = connection
        self._route = address_towards_others if route is None else route
        self._fixed = advertise
        if not advertise and len(hosts) == 1 and not is_wildcard(hosts[0]):
            self._fixed = str(Address(hosts[0], bound[0].port))

    async def __call__(self) -> str:
        """Return the endpoint as of now."""
        if self._fixed:
            return self._fixed
        local = await self._connection()
        host = await self._host_near(local.host if local is not None else self._bound[0].host)
        return str(Address(host, self._bound[0].port))

    async def _host_near(self, local: str) -> str:
        family = family_of(local)
        for each in self._bound:
            if each.host == local or (is_wildcard(each.host) and family_of(each.host) is family):
                return local
        hosts = [await self._reached_at(each.host, local) for each in self._bound]
        # Loopback comes first for a control plane on loopback only; then comes the family of the connection.
        return min(
            hosts,
            key=lambda host: (is_loopback(host) is not is_loopback(local), family_of(host) is not family),
        )

    async def _reached_at(self, bound: str, local: str) -> str:
        """Return an address at which a server bound to `bound` is reached by peers that see us as `local`."""
        family = family_of(bound)
        if not is_wildcard(bound) or family is None:
            return bound
        found = None if is_loopback(local) else await self._route(family)
        return found or _LOOPBACK[family]


async def address_towards_others(family: socket.AddressFamily) -> str | None:
    """Return the local address of `family` from which packets to other networks leave; None without a route.

    Connecting a datagram socket only looks up the route (udp(7), connect(2)); nothing is sent.
    """
    try:
        with trio.socket.socket(family, socket.SOCK_DGRAM) as probe:
            await probe.connect((_ELSEWHERE[family], 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
