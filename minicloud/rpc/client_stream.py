"""The client's end of a call: grpclib's client stream, on Trio.

Always holds:
- Every operation ends by the call's deadline
  (test_call_sends_its_deadline_and_resets_the_stream_when_it_passes).
- A stream that is open at the end of the `async with` block is reset
  (test_call_cancelled_or_left_resets_its_stream).
- A call that the server has rejected unprocessed is sent again, up to three times
  (test_refused_call_is_sent_again_at_once_and_then_after_pauses_three_times_in_all).

One task may send while another receives. There is no task and no cancel scope behind the stream, so an async
generator can use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError

from minicloud.http2.headers import Headers
from minicloud.rpc.client_connection import ClientCall
from minicloud.rpc.metadata import Metadata, decode_binary, decode_metadata, percent_decode
from minicloud.rpc.retry_buffer import RetryBuffer
from minicloud.rpc.server_stream import ProtoMessage
from minicloud.rpc.status import status_of_trailer
from minicloud.rpc.status_details import HEADER as DETAILS_HEADER

SendT = TypeVar("SendT", bound=ProtoMessage)
RecvT = TypeVar("RecvT", bound=ProtoMessage)
T = TypeVar("T")

# The first retry comes at once, as gRPC's have it (gRFC A6), the others after pauses. One alone does not
# always suffice: a stock server counts a call for a moment after its client knows its end, and refuses the
# next.
_MAX_RETRIES = 3


class Opener(Protocol):
    """The part of a channel that a stream needs."""

    @property
    def problem(self) -> str:
        """The reason why there is no connection; empty while there is one, or the first is being made."""

    async def open_call(self, headers: Headers, deadline_s: float) -> ClientCall:
        """Send a request's headers on a connection. Raises GRPCError, UNAVAILABLE."""

    async def pause(self, failures: int) -> None:
        """Wait before a refused call is sent again; longer after more `failures` (0 and up)."""


class ClientStream(Generic[SendT, RecvT]):
    """One call, to be entered with `async with`. It raises GRPCError for every status but OK."""

    def __init__(
        self,
        opener: Opener,
        headers: Headers,
        cardinality: Cardinality,
        send_type: type[SendT],
        recv_type: type[RecvT],
        *,
        deadline_s: float,
        retry_buffer_bytes: int,
    ) -> None:
        self._opener = opener
        self._headers = headers
        self._cardinality = cardinality
        self._send_type = send_type
        self._recv_type = recv_type
        self._deadline_s = deadline_s
        self._call: ClientCall | None = None
        self._sent_end = False
        self._received = 0
        self._over = False  # cancelled, failed, or all has been received
        self._sent = RetryBuffer(retry_buffer_bytes)
        self._retries = 0
        self._opening = trio.Lock()  # one task opens the call, for the first time or again

    @property
    def initial_metadata(self) -> Metadata | None:
        """The metadata that the server sent first; None until it has."""
        call = self._call
        if call is None or call.headers is None:
            return None
        return decode_metadata(() if call.headers is call.trailers else call.headers)

    @property
    def trailing_metadata(self) -> Metadata | None:
        """The metadata that the server sent last; None until it has."""
        call = self._call
        return None if call is None or call.trailers is None else decode_metadata(call.trailers)

    # Sending

    async def send_request(self) -> None:
        """Open the call before there is a message, which opens it otherwise."""
        if self._call is not None:
            raise ProtocolError("the request was already sent")
        await self._in_time(self._open)

    async def send_message(self, message: SendT, *, end: bool = False) -> None:
        """Send one message, the last one with `end`. Waits while the server does not read.

        Raises GRPCError where the call has failed. Does nothing where the server has ended it with OK.
        """
        if not isinstance(message, self._send_type):
            raise TypeError(f"message is a {type(message).__name__}, want a {self._send_type.__name__}")
        if self._sent_end:
            raise ProtocolError("the sending side was already ended")
        data = message.SerializeToString()
        self._sent_end = end
        await self._in_time(lambda: self._send(data, end))

    async def end(self) -> None:
        """End the sending side: there are no more messages."""
        if self._sent_end:
            raise ProtocolError("the sending side was already ended")
        self._sent_end = True
        await self._in_time(lambda: self._send(None, True))

    async def _open(self) -> ClientCall:
        if self._call is None:
            async with self._opening:
                if self._call is None:
                    self._call = await self._opener.open_call(self._headers, self._deadline_s)
        return self._call

    async def _send(self, data: bytes | None, end: bool) -> None:
        if self._cardinality.client_streaming:
            await trio.lowlevel.checkpoint()
        call = await self._open()
        if call.trailers is not None:  # the server wants no more, which is an error or is not
            self._check_status(call)
            return
        self._sent.add(data, end)
        try:
            await _transmit(call, data, end)
        except GRPCError:
            if not await self._retried(call):
                raise

    # Receiving

    async def recv_initial_metadata(self) -> None:
        """Wait for the server's headers. Raises GRPCError where they are an error."""
        await self._in_time(self._recv_headers)

    async def recv_message(self) -> RecvT | None:
        """The server's next message; None when there are no more and the status is OK."""
        data = await self._in_time(self._recv)
        if data is None:
            return None
        self._received += 1
        try:
            return self._recv_type.FromString(data)  # type: ignore[return-value]
        except Exception as exc:
            raise GRPCError(Status.INTERNAL, f"reply is not a valid {self._recv_type.__name__}") from exc

    async def recv_trailing_metadata(self) -> None:
        """Wait for the end of the call, passing over messages. Raises GRPCError unless the status is OK."""
        while await self._in_time(self._recv) is not None:
            self._received += 1

    # This is no generator, because one that is not run to its end has to be closed.
    def __aiter__(self) -> ClientStream[SendT, RecvT]:
        return self

    async def __anext__(self) -> RecvT:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def _recv_headers(self) -> None:
        while True:
            call = await self._open()
            while call.headers is None and call.failure is None:
                await call.arrived.park()
            if call.failure is None:
                if call.headers is call.trailers:
                    self._check_status(call)
                return
            if not await self._retried(call):
                raise GRPCError(*call.failure)

    async def _recv(self) -> bytes | None:
        while True:
            call = await self._open()
            try:
                data = await call.receive()
            except GRPCError:
                if await self._retried(call):
                    continue
                if call.failure is None and call.trailers is not None:
                    self._check_status(call)  # the reason why a message was cut short
                raise
            self._sent.drop()
            if data is None:
                self._check_status(call)
                if not self._cardinality.server_streaming and not self._received:
                    raise GRPCError(Status.INTERNAL, "the server sent status OK and no reply")
            return data

    def _check_status(self, call: ClientCall) -> None:
        self._over = True
        trailers = dict(call.trailers or ())
        code = trailers.get(b"grpc-status")
        if code is None:
            raise GRPCError(Status.UNKNOWN, "the server ended the call without a status")
        status = status_of_trailer(code.decode("latin-1"))
        if status is not Status.OK:
            raise GRPCError(status, percent_decode(trailers.get(b"grpc-message", b"")), _details(trailers))

    # Retries

    async def _retried(self, failed: ClientCall) -> bool:
        """Send again on another stream what was sent on `failed`, where that helps; False where it does not.

        Both the sending and the receiving task may come here. There is no await between the last message of
        the buffer and the change of `_call`, so a message that the sender adds meanwhile is sent on one of
        the two streams and never on both.
        """
        async with self._opening:
            if self._call is not failed:
                return True
            if not (failed.refused and self._sent.is_complete() and self._retries < _MAX_RETRIES):
                return False
            if self._retries:
                await self._opener.pause(self._retries - 1)
            self._retries += 1
            call = await self._opener.open_call(self._headers, self._deadline_s)
            try:
                for data, end in self._sent:
                    await _transmit(call, data, end)
            except BaseException:
                call.abandon()
                raise
            if not self._sent.is_complete():  # the sender has added too much to keep
                call.abandon()
                return False
            self._call = call
            return True

    # The end

    async def cancel(self) -> None:
        """End the call at once; the server's handler is cancelled."""
        self._abandon()

    async def __aenter__(self) -> ClientStream[SendT, RecvT]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            # A unary answer is not known to be good until its status has come. A caller that does not read a
            # streaming answer to its end does not want the rest.
            if exc is None and not self._over and self._sent_end and not self._cardinality.server_streaming:
                await self.recv_trailing_metadata()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        self._over = True
        if self._call is not None:
            self._call.abandon()

    async def _in_time(self, operation: Callable[[], Awaitable[T]]) -> T:
        with trio.move_on_at(self._deadline_s):
            try:
                return await operation()
            except GRPCError:
                self._over = True  # raised once: the end of the `async with` block does not raise it again
                raise
        if self._call is None:
            problem = "the call could not be sent within its deadline"
            if self._opener.problem:
                problem += f": {self._opener.problem}"
            raise GRPCError(Status.UNAVAILABLE, problem)
        self._abandon()
        raise GRPCError(Status.DEADLINE_EXCEEDED, "deadline exceeded")


async def _transmit(call: ClientCall, data: bytes | None, end: bool) -> None:
    if end:
        await call.send_end(data)
    elif data is not None:
        await call.send(data)


def _details(trailers: dict[bytes, bytes]) -> bytes | None:
    """The bytes of the `google.rpc.Status` that came with an error; None where none did."""
    try:
        return decode_binary(trailers[DETAILS_HEADER])
    except (KeyError, ValueError):
        return None
