"""One HTTP/2 stream as either end of a call sees it: messages in, messages out, both with flow control.

What always holds: the peer gets its window back only for bytes the application has taken or is waiting to
take, so a call nobody reads holds one window, and one being read a message and a window; what it holds, the
message the application has in hand included, counts against a budget, beyond which the call fails; `send`
returns once all is queued, which it is only while there is room.
"""

from __future__ import annotations

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.rpc.budget import ByteBudget, Share
from minicloud.rpc.connection import Connection
from minicloud.rpc.events import DataReceived
from minicloud.rpc.framing import Deframer, FramingError, MessageTooLargeError, frame
from minicloud.rpc.transport import HIGH_WATER_BYTES, Transport


class Call:
    """A stream of `transport`, open since its headers were received or sent."""

    __slots__ = (
        "_connection",
        "_deframer",
        "_exhausted",
        "_held",
        "_message_bytes",
        "_share",
        "_transport",
        "arrived",
        "ended",
        "failure",
        "stream_id",
    )

    def __init__(self, transport: Transport, stream_id: int, deframer: Deframer, budget: ByteBudget) -> None:
        self.stream_id = stream_id
        self.ended = False  # the peer has sent all it will
        self.failure: tuple[Status, str] | None = None  # why nothing more can be sent or received
        self.arrived = trio.lowlevel.ParkingLot()  # until something happens to the stream
        self._transport = transport
        self._connection: Connection = transport.connection
        self._deframer = deframer
        self._held = 0  # received bytes not given back to the peer's windows
        self._share = Share(budget)
        self._message_bytes = 0  # of the message handed out last
        self._exhausted = False  # the budget did not suffice: nothing more is kept

    # What the peer did

    def on_data(self, event: DataReceived) -> None:
        if self.failure is not None or self._exhausted:
            self._connection.acknowledge(self.stream_id, event.flow_bytes)
            return
        self._held += event.flow_bytes
        self._deframer.feed(event.data)
        self._count(self._message_bytes)
        if event.end_stream:
            self.ended = True
        if self.arrived:
            self.arrived.unpark_all()

    def on_end(self) -> None:
        self.ended = True
        self.arrived.unpark_all()

    def fail(self, status: Status, message: str) -> None:
        """Nothing more can be sent or received; the first reason stands. Whoever waits is told."""
        if self.failure is None:
            self.failure = (status, message)
            self.release()
        self.arrived.unpark_all()
        self._transport.writable.unpark_all()

    def release(self) -> None:
        """Give all that is held back to the peer, read or not."""
        self._share.hold(0)
        held, self._held = self._held, 0
        if held:
            self._connection.acknowledge(self.stream_id, held)
            self._transport.wake_writer()

    # What the application does

    async def receive(self) -> bytes | None:
        """The next message; None when the peer has ended the stream.

        Raises GRPCError: RESOURCE_EXHAUSTED for a message over the limit or what is left of the budget,
        INTERNAL for bytes that are none, and the call's `failure`.
        """
        self._count(0)  # whoever asks for the next is done with the one before
        while True:
            self._check()
            if self._exhausted:
                raise GRPCError(Status.RESOURCE_EXHAUSTED, "too many large messages at once: try again later")
            try:
                message = self._deframer.next_message()
                if message is None and self.ended:
                    self._deframer.finish()
                    return None
            except MessageTooLargeError as exc:
                raise GRPCError(Status.RESOURCE_EXHAUSTED, str(exc)) from None
            except FramingError as exc:
                raise GRPCError(Status.INTERNAL, str(exc)) from None
            if message is not None:
                if not self._count(len(message)):
                    continue
                if self._held > len(self._deframer):
                    self._give_back(self._held - len(self._deframer))
                return message
            self._give_back(self._held)
            await self.arrived.park()

    async def send(self, message: bytes) -> None:
        """Send one message. Raises GRPCError for the call's `failure`."""
        await self._send(frame(message), end_stream=False)

    async def send_end(self, message: bytes | None = None) -> None:
        """Send the last message, if one is given, and end this side of the stream."""
        await self._send(b"" if message is None else frame(message), end_stream=True)

    async def _send(self, data: bytes, *, end_stream: bool) -> None:
        rest: bytes | memoryview = data
        connection = self._connection
        while True:
            self._check()
            if connection.output_bytes < HIGH_WATER_BYTES:
                sent = connection.send_data(self.stream_id, rest, end_stream=end_stream)
                self._transport.wake_writer()
                if sent == len(rest):
                    return
                if sent:
                    rest = memoryview(rest)[sent:]
                    continue
            await self._transport.writable.park()

    def _count(self, message_bytes: int) -> bool:
        """Hold what is buffered and a message of that size; False where it is too much: all is dropped."""
        self._message_bytes = message_bytes
        if self._share.hold(len(self._deframer) + message_bytes):
            return True
        self._exhausted = True
        self._deframer.clear()
        self.release()
        return False

    def _check(self) -> None:
        if self.failure is not None:
            raise GRPCError(*self.failure)

    def _give_back(self, flow_bytes: int) -> None:
        if flow_bytes:
            self._held -= flow_bytes
            self._connection.acknowledge(self.stream_id, flow_bytes)
            if self._connection.output_bytes:
                self._transport.wake_writer()
