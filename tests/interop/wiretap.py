"""This module has a TCP proxy between a client and a server that reads the HTTP/2 frames passing by.

It shows the frames on the wire, whatever either end reports. It can also hold one direction, so that a test
sees what an end does by itself.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import trio
from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame

_PREFACE_BYTES = 24
_HEADER_BYTES = 9

F = TypeVar("F", bound=Frame)


class Side(enum.Enum):
    """A `Side` is the end that sent a frame."""

    CLIENT = "client"
    SERVER = "server"


class Wiretap:
    """A `Wiretap` is between clients, which connect to `port`, and the server at `server_port`,
    which may change."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.port = 0
        self.connections = 0  # accepted so far
        self.open_connections = 0
        self._frames: list[tuple[Side, Frame]] = []
        self._held: set[Side] = set()
        self._nurseries: list[trio.Nursery] = []  # one for each connection
        self._changed = trio.lowlevel.ParkingLot()

    def frames(self, side: Side, kind: type[F]) -> list[F]:
        """Return the frames of this kind that `side` has sent, in order."""
        return [frame for sent_by, frame in self._frames if sent_by is side and isinstance(frame, kind)]

    def headers(self, side: Side) -> list[dict[str, str]]:
        """Return the headers that `side` has sent, on the only connection so far."""
        assert self.connections == 1, "each connection compresses its headers for itself"
        decoder = Decoder()
        return [
            {str(name): str(value) for name, value in decoder.decode(frame.data)}
            for frame in self.frames(side, HeadersFrame)
        ]

    def data_bytes(self, side: Side) -> int:
        """Return the size of the payload of all DATA frames."""
        return sum(frame.flow_controlled_length for frame in self.frames(side, DataFrame))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, on the frames seen by this tap, holds."""
        while not condition():
            await self._changed.park()

    def hold(self, side: Side) -> None:
        """From now on read the bytes of `side` and pass none of them on."""
        self._held.add(side)

    def release(self, side: Side) -> None:
        self._held.remove(side)
        self._changed.unpark_all()

    def cut(self) -> None:
        """Break every connection, both ways, without a GOAWAY."""
        for nursery in self._nurseries:
            nursery.cancel_scope.cancel()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Carry one connection."""
        self.connections += 1
        self.open_connections += 1
        try:
            with suppress(OSError):  # no server: the client sees its connection closed
                far = await trio.open_tcp_stream("127.0.0.1", self.server_port)
                async with stream, far, trio.open_nursery() as nursery:
                    self._nurseries.append(nursery)
                    for pump in ((Side.CLIENT, stream, far), (Side.SERVER, far, stream)):
                        nursery.start_soon(self._pump, *pump, nursery.cancel_scope)
        finally:
            self.open_connections -= 1
            self._changed.unpark_all()

    async def _pump(
        self, side: Side, source: trio.SocketStream, sink: trio.SocketStream, connection: trio.CancelScope
    ) -> None:
        unread = bytearray()
        skip = _PREFACE_BYTES if side is Side.CLIENT else 0
        try:
            async for data in source:
                unread += data
                if len(unread) >= skip:
                    del unread[:skip]
                    skip = 0
                    self._read_frames(side, unread)
                while side in self._held:
                    await self._changed.park()
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            connection.cancel()

    def _read_frames(self, side: Side, unread: bytearray) -> None:
        while len(unread) >= _HEADER_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(bytes(unread[:_HEADER_BYTES])))
            end = _HEADER_BYTES + length
            if len(unread) < end:
                break
            frame.parse_body(memoryview(bytes(unread[_HEADER_BYTES:end])))
            del unread[:end]
            self._frames.append((side, frame))
        self._changed.unpark_all()


@asynccontextmanager
async def wiretap(server_port: int) -> AsyncIterator[Wiretap]:
    tap = Wiretap(server_port)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    tap.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, tap.serve, listeners)
        yield tap
        nursery.cancel_scope.cancel()
