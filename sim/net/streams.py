"""Connections over a `Link`, as streams of bytes under the gRPC stack: `--depth wire`.

They behave as TCP: bytes arrive in order or not at all; bytes that the network loses are sent again, later; a
partition stalls a connection and does not end it; a machine whose program has ended answers with a reset.
Messages are never doubled or overtaken here.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import trio

from sim.engine.process import Process
from sim.engine.timeline import Parked
from sim.net.network import Direction, Link

# Before bytes that were lost, or could not get through, are sent again: doubled each time, as RFC 6298 has
# it; the longest is kept short of its 60 s, so that a healed network is noticed within a run.
_FIRST_RETRANSMISSION_S = 0.2
_LAST_RETRANSMISSION_S = 5.0

# Sent and not yet read, beyond which a sender waits: as much as sockets take by default.
_BUFFER_BYTES = 256 * 1024


class Listening(Protocol):
    """A program that listens at a server's address."""

    @property
    def process(self) -> Process: ...

    def accepted(self, stream: SimStream) -> None:
        """Serve a new connection."""
        ...


class _Sign(Enum):
    """A mark that a connection carries beside bytes."""

    END = "end"
    RESET = "reset"


class _Pipe:
    """One direction of a connection: chunks under way, in order."""

    def __init__(self, link: Link, direction: Direction) -> None:
        self.end: SimStream | None = None  # where it leads; None once that is closed
        self.unread_bytes = 0
        self.room = trio.lowlevel.ParkingLot()
        self._link = link
        self._direction = direction
        self._lost = link.stream("retransmission")
        self._chunks: deque[bytes | _Sign] = deque()
        self._ready_s = 0.0  # when the newest is due, so that none overtakes it
        self._stalls = 0

    def put(self, chunk: bytes | _Sign) -> None:
        timeline = self._link.network.timeline
        delay_s = self._link.delay_s(self._direction)
        while self._direction.loss and self._lost.random() < min(self._direction.loss, 0.9):
            delay_s += _FIRST_RETRANSMISSION_S
        self._ready_s = max(self._ready_s, timeline.now_s + delay_s)
        self._chunks.append(chunk)
        if isinstance(chunk, bytes):
            self.unread_bytes += len(chunk)
        self._link.network.counts.sent += 1
        timeline.at(self._ready_s, self._arrive)

    def _arrive(self) -> None:
        """One chunk is due; whichever is first goes."""
        if not self._chunks:
            return
        if self._direction.cut or self._direction.held:
            wait_s = min(_FIRST_RETRANSMISSION_S * 2**self._stalls, _LAST_RETRANSMISSION_S)
            self._stalls += 1
            timeline = self._link.network.timeline
            self._ready_s = max(self._ready_s, timeline.now_s + wait_s)
            timeline.at(timeline.now_s + wait_s, self._arrive)
            return
        self._stalls = 0
        chunk = self._chunks.popleft()
        self._link.network.counts.delivered += 1
        end = self.end
        if end is not None:
            end.process.carry_out(end.arrived, chunk)


class SimStream(trio.abc.Stream):
    """One end of a connection, in `process`."""

    def __init__(self, process: Process, outward: _Pipe, inward: _Pipe) -> None:
        self.process = process
        self._outward = outward
        self._inward = inward
        self._received: deque[bytes] = deque()
        self._ended = False
        self._broken = False
        self._closed = False
        self._reader: Parked | None = None
        inward.end = self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            self._check()
            if self._outward.unread_bytes < _BUFFER_BYTES:
                break
            await self._outward.room.park()
        if self.process.alive:
            self._outward.put(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._received:
            self._check()
            if self._ended:
                return b""
            self._reader = Parked()
            await self._reader
        data = self._received.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._received.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._inward.unread_bytes -= len(data)
        self._inward.room.unpark_all()
        return data

    async def aclose(self) -> None:
        """Close; the other end reads the bytes that were sent, and then the end."""
        if not self._closed:
            self._closed = True
            self._inward.end = None
            self.process.at_end.pop(self.reset, None)
            if self.process.alive:
                self._outward.put(_Sign.END)
            self._wake()
        await trio.lowlevel.checkpoint()

    def arrived(self, chunk: bytes | _Sign) -> None:
        """Something has come. An event."""
        if isinstance(chunk, bytes):
            self._received.append(chunk)
        elif chunk is _Sign.END:
            self._ended = True
        else:
            self._broken = True
            self._received.clear()
            self._outward.room.unpark_all()
        self._wake()

    def reset(self) -> None:
        """Break the connection: the other end notices when the network delivers the reset."""
        self.arrived(_Sign.RESET)
        self._outward.put(_Sign.RESET)

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.wake()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end is closed")
        if self._broken:
            raise trio.BrokenResourceError("connection reset by peer")


class Connections:
    """Makes connections over a link, and breaks them."""

    def __init__(self, process: Process, link: Link, find: Callable[[], Listening | None]) -> None:
        self._process = process
        self._link = link
        self._find = find

    async def connect(self) -> trio.abc.Stream:
        """Connect to the program that listens at the link's server. Raises `ConnectionRefusedError`.

        While the network carries nothing it waits and tries again, as a kernel does.
        """
        link, timeline = self._link, self._link.network.timeline
        wait_s = 1.0
        while True:
            await self._process.sleep_until(timeline.now_s + link.delay_s(link.to_server))
            if not (link.to_server.cut or link.to_server.held or link.to_client.cut or link.to_client.held):
                break
            await self._process.sleep_until(timeline.now_s + wait_s)
            wait_s = min(2 * wait_s, _LAST_RETRANSMISSION_S)
        server = self._find()
        alive = server is not None and server.process.alive
        await self._process.sleep_until(timeline.now_s + link.delay_s(link.to_client))
        if server is None or not alive:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        there = _Pipe(link, link.to_server)
        back = _Pipe(link, link.to_client)
        ours = SimStream(self._process, there, back)
        theirs = SimStream(server.process, back, there)
        link.reset = theirs.reset
        for stream in (ours, theirs):
            stream.process.at_end[stream.reset] = None
        timeline.at(timeline.now_s, server.accepted, theirs, host=server.process)
        return ours
