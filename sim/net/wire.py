"""The production gRPC server and channel over simulated connections: `--depth wire`.

gRPC's own timers (keepalive, idleness, handshakes) run on true time, not on the node's clock, and go on while
its program is paused; messages to a paused program still wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from random import Random
from typing import Any

import trio
from grpclib.exceptions import GRPCError

from minicloud.rpc.channel import Channel
from minicloud.rpc.interceptors import HandlerFunc, around_each, intercepted
from minicloud.rpc.server import Server
from minicloud.rpc.server_stream import AnyStream
from minicloud.worker.control_plane_client import TO_CONTROL_PLANE
from sim.engine.process import Process
from sim.net.network import Link
from sim.net.processor import Processor
from sim.net.streams import Connections, Listening, SimStream


class WireServer:
    """Serves `services` in `process`; each call takes `service_time_s()` of its one processor.

    `failures` collects unexpected exceptions of handlers.
    """

    def __init__(
        self,
        process: Process,
        services: Sequence[Any],
        service_time_s: Callable[[], float],
        links: Callable[[], Sequence[Link]],
        random: Random,
    ) -> None:
        self.process = process
        self.failures: list[tuple[str, Exception]] = []
        self._links = links
        self._processor = Processor(process.timeline, service_time_s)
        self._server = Server(intercepted(services, around_each(self._taking_time)), random=random)
        self._nursery: trio.Nursery | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def _taking_time(self, method: str, handle: HandlerFunc) -> HandlerFunc:
        """Wrap a handler: its calls take time, and its failures are kept."""

        async def handler(stream: AnyStream) -> None:
            await self.process.sleep_until(self._processor.take())
            try:
                await handle(stream)
            except GRPCError:
                raise
            except Exception as error:
                self.failures.append((method, error))
                raise

        return handler

    @property
    def open_calls(self) -> int:
        return self._server.active_calls

    def accepted(self, stream: SimStream) -> None:
        """Serve a new connection."""
        if self._nursery is None:
            stream.reset()
            return
        self._nursery.start_soon(self._server.serve_connection, stream)

    def reset(self, clients: Container[str] | None = None) -> None:
        """Break the connections of these clients, by default of all."""
        for link in self._links():
            if clients is None or link.client in clients:
                link.reset()


class WireChannel:
    """The production channel of a worker in `process` to the server at the other end of `link`."""

    def __init__(
        self, process: Process, link: Link, find: Callable[[], Listening | None], random: Random
    ) -> None:
        self._connections = Connections(process, link, find)
        self._random = random
        self._channel: Channel | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """Start the channel's tasks in `nursery`; call it before the first request."""
        self._channel = Channel(
            nursery, [self._connections.connect], random=self._random, config=TO_CONTROL_PLANE
        )

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Make a call, as a generated stub does."""
        assert self._channel is not None, "the channel has not been opened"
        return self._channel.request(*args, **kwargs)
