"""The standard health service, grpc.health.v1: SERVING while this server may be sent requests (DESIGN 18).

Always holds: every service, and "" for the server as a whole, has the same status, which is SERVING at first
and NOT_SERVING for good after `stop_serving`
(test_status_follows_what_is_set_until_serving_is_stopped_for_good); a watcher is sent each change once and in
order (test_watch_is_told_once_of_each_status_and_goes_on), and nothing is kept of it but its call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from minicloud.rpc.servable import Servable, service_names
from minicloud.rpc.server_stream import ServerStream
from minicloud.wire.gen.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)
from minicloud.wire.gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus


class Health:
    """The service `grpc.health.v1.Health` for `services`."""

    def __init__(self, services: Iterable[Servable]) -> None:
        self._services = ["", *service_names(services)]
        self._status = ServingStatus.SERVING
        self._stopped = self._closed = False
        self._changed = trio.lowlevel.ParkingLot()

    def set_serving(self, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, unless serving has been stopped for good. Watchers get
        the change, and go on watching."""
        if not self._stopped:
            self._status = ServingStatus.SERVING if serving else ServingStatus.NOT_SERVING
            self._changed.unpark_all()

    def stop_serving(self) -> None:
        """Answer NOT_SERVING from now on. Watchers get the change, and go on watching."""
        self.set_serving(False)
        self._stopped = True

    def close(self) -> None:
        """Answer NOT_SERVING for good, and end the calls of watchers once they have received it.

        It is called before a server's `stop`, which would wait for them.
        """
        self._closed = True
        self.stop_serving()
        self._changed.unpark_all()

    def __mapping__(self) -> Mapping[str, Handler]:
        unary, streaming = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            "/grpc.health.v1.Health/Check": Handler(
                self._check, unary, HealthCheckRequest, HealthCheckResponse
            ),
            "/grpc.health.v1.Health/List": Handler(self._list, unary, HealthListRequest, HealthListResponse),
            "/grpc.health.v1.Health/Watch": Handler(
                self._watch, streaming, HealthCheckRequest, HealthCheckResponse
            ),
        }

    async def _check(self, stream: ServerStream[HealthCheckRequest, HealthCheckResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        status = self._status_of(request.service)
        if status is ServingStatus.SERVICE_UNKNOWN:
            raise GRPCError(Status.NOT_FOUND, f"no such service: {request.service[:200]}")
        await stream.send_message(HealthCheckResponse(status))

    async def _list(self, stream: ServerStream[HealthListRequest, HealthListResponse]) -> None:
        await stream.recv_message()
        await stream.send_message(
            HealthListResponse({name: HealthCheckResponse(self._status) for name in self._services})
        )

    async def _watch(self, stream: ServerStream[HealthCheckRequest, HealthCheckResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        sent: ServingStatus | None = None
        while True:
            status = self._status_of(request.service)
            if status is not sent:
                await stream.send_message(HealthCheckResponse(status))
                sent = status  # and look again: it may have changed during the sending
            elif self._closed:
                raise GRPCError(Status.UNAVAILABLE, "the server is shutting down")
            else:
                await self._changed.park()

    def _status_of(self, service: str) -> ServingStatus:
        return self._status if service in self._services else ServingStatus.SERVICE_UNKNOWN
