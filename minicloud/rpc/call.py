"""The messages of one call, in and out, with flow control; both ends of a call build on it.

Always holds:
- The peer gets its window back only for bytes that the application has taken or is waiting to take. So a call
  that nobody reads holds one window, and one that is read holds a message and a window
  (test_sender_to_a_handler_that_does_not_read_is_held_at_the_window).
- The bytes held, with the message that the application has in hand, count against a budget, beyond which the
  call fails (test_message_beyond_the_budget_fails_its_call_and_no_small_one; DESIGN 21).
- `send` returns once all is queued. Data is queued only while there is room, and data that waits for room
  counts against another budget (test_answers_that_are_not_taken_make_room_for_those_that_are; DESIGN 69).
"""

from __future__ import annotations

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.http2.connection import Connection
from minicloud.http2.errors import ErrorCode
from minicloud.http2.events import DataReceived
from minicloud.http2.transport import HIGH_WATER_BYTES, Transport
from minicloud.rpc.answers import AnswerBudget
from minicloud.rpc.budget import ByteBudget, Share
from minicloud.rpc.framing import Deframer, FramingError, MessageTooLargeError, NoRoomError, frame
from minicloud.rpc.refusals import CallRefusedError, Cause

# The code that resets a call given up with a status. A client sends a call again that was refused.
_RESET_CODES = {
    Status.UNAVAILABLE: ErrorCode.REFUSED_STREAM,
    Status.RESOURCE_EXHAUSTED: ErrorCode.ENHANCE_YOUR_CALM,
}
_NOT_TAKEN = "the answer was not taken while others were waiting: read faster, or ask for less"


class Call:
    """A stream of `transport` whose headers were received or sent."""

    __slots__ = (
        "__weakref__",
        "_answers",
        "_connection",
        "_deframer",
        "_exhausted",
        "_held",
        "_message_bytes",
        "_share",
        "_transport",
        "arrived",
        "cause",
        "ended",
        "failure",
        "stream_id",
    )

    def __init__(
        self,
        transport: Transport,
        stream_id: int,
        deframer: Deframer,
        budget: ByteBudget,
        answers: AnswerBudget[Call],
    ) -> None:
        self.stream_id = stream_id
        self.ended = False  # the peer has ended its side of the stream
        self.failure: tuple[Status, str] | None = None  # the reason why nothing more can be sent or received
        self.cause: Cause | None = None  # the cause for which this end gave the call up
        self.arrived = trio.lowlevel.ParkingLot()  # tasks that wait for something of the peer
        self._transport = transport
        self._connection: Connection = transport.connection
        self._answers = answers
        self._deframer = deframer
        self._held = 0  # received bytes not given back to the peer's windows
        self._share = Share(budget)
        self._message_bytes = 0  # of the message handed out last
        self._exhausted = False  # the budget did not suffice: nothing more is kept

    # Events of the peer

    def on_data(self, event: DataReceived) -> None:
        """Keep the data of the stream, or return it at once where the call has failed."""
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
        """Note that the peer has ended its side of the stream."""
        self.ended = True
        self.arrived.unpark_all()

    def fail(self, status: Status, message: str) -> None:
        """End sending and receiving for this reason, unless there was one before; wakes who waits."""
        if self.failure is None:
            self.failure = (status, message)
            self.release()
        self.arrived.unpark_all()
        self._transport.writable.unpark_all()

    def give_up(self, cause: Cause, status: Status, message: str) -> None:
        """Reset the call at once, to make room for others."""
        if self.failure is None:
            self.cause = cause
            self._connection.reset(self.stream_id, _RESET_CODES[status])
            self.fail(status, message)
            self._transport.wake_writer()

    def release(self) -> None:
        """Return all bytes that are held to the peer's windows, read or not."""
        self._share.hold(0)
        held, self._held = self._held, 0
        if held:
            self._connection.acknowledge(self.stream_id, held)
            self._transport.wake_writer()

    # Operations of the application

    async def receive(self) -> bytes | None:
        """The next message; None when the peer has ended the stream.

        Raises GRPCError: RESOURCE_EXHAUSTED for a message over the limit or what is left of the budget,
        INTERNAL for bytes that are none, and the call's `failure`.
        """
        self._count(0)  # the caller has no more use for the message before
        while True:
            self._check()
            message = self._next_message()
            if message is not None:
                if self._held > len(self._deframer):
                    self._give_back(self._held - len(self._deframer))
                return message
            if self.ended:
                return None
            self._give_back(self._held)
            await self._wait()

    async def _wait(self) -> None:
        """Wait until something happens to the stream."""
        await self.arrived.park()

    def _next_message(self) -> bytes | None:
        """The next whole message that has arrived; None if there is none. Raises as `receive` does."""
        deframer = self._deframer
        try:
            if not self._exhausted:
                # The compressed message and the inflated one are held at the same time.
                message = deframer.next_message(self._share.room_bytes() - len(deframer))
                if message is None:
                    if self.ended:
                        deframer.finish()
                    return None
                if self._count(len(message)):
                    return message
        except NoRoomError:
            self._exhaust()
        except MessageTooLargeError as exc:
            raise CallRefusedError(Cause.MESSAGE, Status.RESOURCE_EXHAUSTED, str(exc)) from None
        except FramingError as exc:
            raise CallRefusedError(Cause.MESSAGE, Status.INTERNAL, str(exc)) from None
        raise CallRefusedError(
            Cause.RECEIVED_BUDGET,
            Status.RESOURCE_EXHAUSTED,
            "too many large messages at once: try again later",
        )

    async def send(self, message: bytes) -> None:
        """Send one message. Raises GRPCError for the call's `failure`."""
        await self._send(frame(message), end_stream=False)

    async def send_end(self, message: bytes | None = None) -> None:
        """Send the last message, if one is given, and end this side of the stream."""
        await self._send(b"" if message is None else frame(message), end_stream=True)

    async def _send(self, data: bytes, *, end_stream: bool) -> None:
        rest: bytes | memoryview = data
        connection, answers = self._connection, self._answers
        held = -1
        try:
            while True:
                self._check()
                if connection.output_bytes < (1 if answers.crowded else HIGH_WATER_BYTES):
                    sent = connection.send_data(self.stream_id, rest, end_stream=end_stream)
                    self._transport.wake_writer()
                    if sent == len(rest):
                        return
                    if sent:
                        rest = memoryview(rest)[sent:]
                        continue
                if held != len(rest):
                    held = len(rest)
                    for call in answers.hold(self, held):
                        call.give_up(Cause.ANSWER_BUDGET, Status.RESOURCE_EXHAUSTED, _NOT_TAKEN)
                    continue
                await self._transport.writable.park()
        finally:
            if held != -1:
                answers.release(self)

    def _count(self, message_bytes: int) -> bool:
        """Hold the buffer and a message of that size; where that is too much, drop all and return False."""
        self._message_bytes = message_bytes
        if self._share.hold(len(self._deframer) + message_bytes):
            return True
        self._exhaust()
        return False

    def _exhaust(self) -> None:
        """Drop all that is held, because the budget does not suffice."""
        self._exhausted = True
        self._deframer.clear()
        self.release()

    def _check(self) -> None:
        if self.failure is not None:
            raise GRPCError(*self.failure)

    def _give_back(self, flow_bytes: int) -> None:
        if flow_bytes:
            self._held -= flow_bytes
            self._connection.acknowledge(self.stream_id, flow_bytes)
            if self._connection.output_bytes:
                self._transport.wake_writer()
