"""This module checks that the registered endpoint can be reached, and warns where it cannot."""

from __future__ import annotations

from random import Random

import structlog
import trio
from grpclib.exceptions import GRPCError

from minicloud.net.address import Address, is_loopback, parse_address
from minicloud.rpc.channel import open_channel
from minicloud.worker.control_plane import ControlPlaneError
from minicloud.worker.endpoint import LocalAddress

_WITHIN_S = 5.0
# The wait before each try: a name or a proxy set up along with this worker may need a moment.
_PAUSES_S = (0.0, 1.0, 3.0)

log = structlog.get_logger()


class EndpointCheck:
    """Call this with an endpoint that has been registered. `connection` is as for `EndpointFinder`."""

    def __init__(self, connection: LocalAddress, random: Random) -> None:
        self._connection = connection
        self._random = random

    async def __call__(self, endpoint: str) -> None:
        address = parse_address(endpoint)
        if await self._is_for_this_machine_alone(address):
            log.warning("endpoint_is_loopback", endpoint=endpoint, remedy="set --host or --advertise")
            return
        for pause_s in _PAUSES_S:
            await trio.sleep(pause_s)
            problem = await self._problem(address)
            if not problem:
                return
        log.warning(
            "endpoint_unreachable",
            endpoint=endpoint,
            error=problem,
            remedy="others are told to reach this worker there: set --advertise, or let the network pass it",
        )

    async def _is_for_this_machine_alone(self, address: Address) -> bool:
        """Return True for a loopback endpoint where the control plane is not reached by loopback."""
        if not is_loopback(address.host):
            return False
        try:
            local = await self._connection()
        except ControlPlaneError:
            return False
        return local is not None and not is_loopback(local.host)

    async def _problem(self, address: Address) -> str:
        """Return why no HTTP/2 connection to `address` can be made from here; empty if one can."""
        async with open_channel([address], random=self._random) as channel:
            try:
                await channel.local_address(_WITHIN_S)
            except GRPCError as error:
                return error.message or error.status.name
        return ""
