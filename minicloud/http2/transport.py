"""The tasks of one HTTP/2 connection: a reader, a writer, and one that watches the clock.

They serve either end; the owner gets the events. A task that waits parks in a `ParkingLot` with no `await`
between looking at its condition and parking, and looks again when it is woken, so no wake-up is lost.

Always holds:
- Only the writer sends and only the reader receives: Trio raises BusyResourceError otherwise.
- Output that waits for the peer is bounded by `MAX_OUTPUT_BYTES` and what one reading of input adds to it
  (test_peer_that_does_not_read_is_dropped_with_bounded_output).
- A transport that has ended refers to nobody, so it needs no garbage collector (test_garbage.py; DESIGN 70).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from minicloud.http2.config import Http2Limits, Timeouts
from minicloud.http2.connection import Connection
from minicloud.http2.errors import ErrorCode, error_name
from minicloud.http2.events import ConnectionFailed, Event, PingAcked
from minicloud.http2.frames import MAX_STREAM_ID
from minicloud.http2.headers import Headers
from minicloud.http2.peer import local_of, peer_of
from minicloud.http2.timers import ConnectionTimers, Due

_log = structlog.get_logger()

# The size of one reading, which `Connection` cuts into turns.
READ_BYTES = 16_384

# Data is queued while less than this waits: enough to keep a fast link busy from one writing to the next.
HIGH_WATER_BYTES = 65_536

# Nothing more is read while more than this waits, because answers to control frames wait for no room. It is
# well above the high water so that two ends full of data never stop reading at the same time.
MAX_OUTPUT_BYTES = 4 * HIGH_WATER_BYTES

# The time for the last output (GOAWAY, trailers) of a connection that ends.
_LINGER_S = 1.0

_KEEPALIVE = b"alive?\0\0"
_DRAIN = b"drain\0\0\0"


class Fault(enum.Enum):
    """A reason to drop a peer that its own conduct gives."""

    HANDSHAKE = "handshake"  # no preface or settings in time
    PROTOCOL = "protocol"  # it broke HTTP/2
    FLOOD = "flood"  # frames or requests that help nobody
    NOT_READ = "not_read"  # it does not take what is sent


class OutputCount(Protocol):
    """A count of the output of all connections together."""

    output_bytes: int


class Transport:
    """Carries `connection` over `stream` until either end closes it."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        client: bool,
        http2: Http2Limits,
        timeouts: Timeouts,
        output: OutputCount,
        repair: Callable[[Headers], Headers],
        on_event: Callable[[Event], None],
        on_due: Callable[[Due], None],
    ) -> None:
        """`on_event` gets the events of the peer, `on_due` gets IDLE and AGED. Neither may wait or raise.

        `output` counts the output of all connections together. `repair` is that of `Connection`.
        """
        now_s = trio.current_time()
        self.peer = peer_of(stream)
        self.local = local_of(stream)
        self.connection = Connection(client=client, limits=http2, now_s=now_s, repair=repair)
        self.timers = ConnectionTimers(timeouts, now_s)
        self.close_reason: str | None = None
        self.fault: Fault | None = None  # for which the peer was dropped
        self.writable = trio.lowlevel.ParkingLot()  # tasks that wait for room for output
        self._stream = stream
        self._output_count = output
        self._timeouts = timeouts
        self._on_event = on_event
        self._on_due = on_due
        self._sending_bytes = 0
        self._counted_bytes = 0  # of output, in `_output_count`
        self._output = trio.lowlevel.ParkingLot()  # the writer, while there is no output
        self._watcher = trio.lowlevel.ParkingLot()
        self._reading = trio.CancelScope()
        self._written = trio.Event()  # the writer has ended
        self._on_drained: Callable[[], None] | None = None

    async def run(self, nursery: trio.Nursery) -> None:
        """Carry the connection until it is closed; then cancel `nursery`, in which its tasks are.

        The owner may keep tasks of its own there that are to end with the connection.
        """
        nursery.start_soon(self._write)
        nursery.start_soon(self._watch)
        try:
            with self._reading:
                await self._read()
            self._output.unpark()
            with trio.move_on_after(_LINGER_S):
                await self._written.wait()
        finally:
            # Shielded, and before the cancellation, whose exception would take the place of one on its way.
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)
            nursery.cancel_scope.cancel()
            self._free()

    def wake_writer(self) -> None:
        """Have the writer send the output. All that is queued before its turn goes out in one piece."""
        self._count_output()
        if self._output:
            self._output.unpark()

    def _count_output(self) -> None:
        now_bytes = self.connection.output_bytes + self._sending_bytes
        self._output_count.output_bytes += now_bytes - self._counted_bytes
        self._counted_bytes = now_bytes

    def _free(self) -> None:
        """Drop the references back to this object, so that it needs no garbage collector."""
        self.connection.close()
        self._sending_bytes = 0
        self._count_output()
        self._on_event, self._on_due, self._on_drained = _ignore, _ignore, None

    def close(self, reason: str, *, peers_fault: bool = False, fault: Fault | None = None) -> None:
        """End the connection once the queued output is sent, or cannot be. The first reason counts."""
        if self.close_reason is not None:
            return
        self.close_reason = reason
        self.fault = fault
        # The events keep the prefix of gRPC's other events, by which operators filter them.
        if peers_fault:
            _log.info("rpc_connection_dropped", peer=str(self.peer), reason=reason)
        else:
            _log.debug("rpc_connection_closed", peer=str(self.peer), reason=reason)
        self._reading.cancel()
        self.writable.unpark_all()

    def drain(self, grace_s: float, on_drained: Callable[[], None]) -> None:
        """Have the peer open no more streams; the connection is closed after `grace_s` at the latest.

        There are two steps, so that no stream opened meanwhile is lost: a GOAWAY that accepts every stream,
        and the true one once the answer to a ping shows that the peer has seen the first. Then `on_drained`
        is called.
        """
        if self._on_drained is None:
            self._on_drained = on_drained
            self.connection.go_away(MAX_STREAM_ID)
            self.connection.ping(_DRAIN)
            self.wake_writer()
        ends_s = trio.current_time() + grace_s
        if self.timers.grace_ends_s is None or ends_s < self.timers.grace_ends_s:
            self.timers.grace_ends_s = ends_s
            self._watcher.unpark()

    async def _read(self) -> None:
        while True:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return self.close("connection lost")
            if not data:
                return self.close("closed by the peer")
            await self._receive(data)

    async def _receive(self, data: bytes | bytearray) -> None:
        """Take in `data`, with a turn for other tasks after each turn's work (DESIGN 67)."""
        connection, timers = self.connection, self.timers
        while True:
            now_s = trio.current_time()
            frames_before = connection.frames_received
            for event in connection.receive(data, now_s):
                self._handle(event)
            if connection.frames_received != frames_before:
                timers.heard(now_s)
                timers.ready = connection.peer_ready
            if connection.output_bytes:
                self.wake_writer()
                while connection.output_bytes > MAX_OUTPUT_BYTES:
                    await self.writable.park()
            if not connection.has_more or connection.failed:
                return
            await trio.lowlevel.checkpoint()
            data = b""

    def _handle(self, event: Event) -> None:
        if isinstance(event, ConnectionFailed):
            self.fail(event)
        elif isinstance(event, PingAcked):
            if event.payload == _DRAIN and self._on_drained is not None:
                self.connection.go_away(self.connection.highest_received_stream_id)
                self._on_drained()
        else:
            self._on_event(event)

    def fail(self, event: ConnectionFailed) -> None:
        """Close the connection because the peer broke the protocol."""
        fault = Fault.FLOOD if event.error_code == ErrorCode.ENHANCE_YOUR_CALM else Fault.PROTOCOL
        self.close(f"{error_name(event.error_code)}: {event.reason}", peers_fault=True, fault=fault)

    async def _write(self) -> None:
        try:
            while self.close_reason is None or self.connection.output_bytes:
                if not self.connection.output_bytes:
                    await self._output.park()
                elif not await self._write_once():
                    return
        finally:
            self._written.set()

    async def _write_once(self) -> bool:
        """Send the output there is; False where nothing more can be sent, or shall be."""
        last = self.close_reason is not None
        data = self.connection.data_to_send()
        self._sending_bytes = len(data)
        if self.writable:
            self.writable.unpark_all()
        with trio.move_on_after(self._timeouts.send_s):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close("connection lost")
                return False
            self._sending_bytes = 0
            self._count_output()
            return not last
        self.close("the peer does not read", peers_fault=True, fault=Fault.NOT_READ)
        return False

    async def _watch(self) -> None:
        while True:
            due, at_s = self.timers.poll(trio.current_time())
            if due is Due.NOTHING:
                with trio.move_on_at(at_s):
                    await self._watcher.park()
            elif due is Due.PING:
                self.connection.ping(_KEEPALIVE)
                self.timers.pinged(trio.current_time())
                self.wake_writer()
            elif due in (Due.IDLE, Due.AGED):
                self._on_due(due)
            else:
                fault = Fault.HANDSHAKE if due is Due.NO_HANDSHAKE else None
                return self.close(due.value, peers_fault=due is not Due.GRACE_OVER, fault=fault)


def _ignore(event: object) -> None:
    """Drop an event of a connection that has ended."""
