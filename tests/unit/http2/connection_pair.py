"""This module joins a client machine to a server machine."""

from __future__ import annotations

from typing import TypeVar

from hpack import Encoder

from minicloud.http2.config import Http2Limits
from minicloud.http2.connection import Connection
from minicloud.http2.events import (
    Event,
)
from tests.unit.http2.raw_frames import REQUEST_HEADERS

REQUEST = list(REQUEST_HEADERS.items())
RESPONSE = [(b":status", b"200"), (b"content-type", b"application/grpc")]
LIMITS = Http2Limits()


class Pair:
    """A `Pair` has two ends; `settle` carries bytes to and fro until there are none."""

    def __init__(self, client_limits: Http2Limits = LIMITS, server_limits: Http2Limits = LIMITS) -> None:
        self.client = Connection(client=True, limits=client_limits, now_s=0)
        self.server = Connection(client=False, limits=server_limits, now_s=0)
        self.at_client: list[Event] = []
        self.at_server: list[Event] = []

    def settle(self, chunk: int = 1 << 20) -> None:
        while self.client.output_bytes or self.server.output_bytes:
            for source, sink, events in (
                (self.client, self.server, self.at_server),
                (self.server, self.client, self.at_client),
            ):
                data = source.data_to_send()
                for start in range(0, len(data), chunk):
                    events.extend(received(sink, data[start : start + chunk]))

    def opened(self) -> int:
        self.settle()
        stream_id = self.client.open_stream(REQUEST)
        self.settle()
        return stream_id


def received(connection: Connection, data: bytes | bytearray, now_s: float = 0) -> list[Event]:
    """Return the events of `data`, over as many turns as it takes."""
    events = connection.receive(data, now_s)
    while connection.has_more and not connection.failed:
        events += connection.receive(b"", now_s)
    return events


E = TypeVar("E")


def of(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


BLOCK = Encoder().encode(REQUEST)  # of the first request on a connection
