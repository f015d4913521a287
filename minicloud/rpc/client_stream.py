"""What a caller holds of its call: grpclib's client stream, on Trio.

What always holds: every operation ends by the call's deadline; a stream left open at the end of the `async
with` block is reset; a call that the server says it never looked at is sent once more, by itself.

One task may send while another receives. There is no task and no cancel scope behind the stream, so it can be
used from an async generator.
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

# The first at once, as gRPC's retries have it (gRFC A6), the others after pauses. One alone does not always
# do: a stock server counts a call for a moment after its client knows the end of it, and refuses the next.
_MAX_RETRIES = 3


class Opener(Protocol):
    """The part of a channel that a stream needs."""

    @property
    def problem(self) -> str:
        """Why there is no connection; empty while there is one, or the first is being made."""

    async def open_call(self, headers: Headers, deadline_s: float) -> ClientCall:
        """Send a request's headers on a connection. Raises GRPCError, UNAVAILABLE."""

    async def pause(self, failures: int) -> None:
        """Let a server that refused have a moment; longer ones after more `failures` (0 and up)."""


class ClientStream(Generic[SendT, RecvT]):
    """One call; enter it with `async with`. GRPCError tells of every end but a good one."""

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
        self._opening = trio.Lock()  # one task opens, be it for the first time or again

    @property
    def initial_metadata(self) -> Metadata | None:
        """What the server sent first; None until it has."""
        call = self._call
        if call is None or call.headers is None:
            return None
        return decode_metadata(() if call.headers is call.trailers else call.headers)

    @property
    def trailing_metadata(self) -> Metadata | None:
        """What the server sent last; None until it has."""
        call = self._call
        return None if call is None or call.trailers is None else decode_metadata(call.trailers)

    # Sending

    async def send_request(self) -> None:
        """Open the call, where a message is not to do it."""
        if self._call is not None:
            raise ProtocolError("the request was already sent")
        await self._in_time(self._open)

    async def send_message(self, message: SendT, *, end: bool = False) -> None:
        """Send one message; waits while the server does not read. `end` says it is the last.

        Raises GRPCError where the call has failed. Once the server has ended it well, does nothing.
        """
        if not isinstance(message, self._send_type):
            raise TypeError(f"message is a {type(message).__name__}, want a {self._send_type.__name__}")
        if self._sent_end:
            raise ProtocolError("the sending side was already ended")
        data = message.SerializeToString()
        self._sent_end = end
        await self._in_time(lambda: self._send(data, end))

    async def end(self) -> None:
        """Say that there are no more messages."""
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
        """Wait for the server's first word. Raises GRPCError where that is an error."""
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

    # Not a generator: one that is not run to its end would have to be closed.
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

    # Again

    async def _retried(self, failed: ClientCall) -> bool:
        """Whether what was sent on `failed` has been sent again on another stream.

        Both the sending and the receiving task may come here. `_call` is set right after the last of what
        was sent has gone again, with no await between: what the sender adds meanwhile goes the one way or
        the other, never both.
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
            if not self._sent.is_complete():  # what the sender added was too much to keep
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
            # A unary answer is not known to be good until its status has come. A streaming one that is not
            # read to its end is not wanted any more.
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
                self._over = True  # and told of: the end of the `async with` block need not tell it again
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
    """The bytes of the `google.rpc.Status` that came with an error, if one did."""
    try:
        return decode_binary(trailers[DETAILS_HEADER])
    except (KeyError, ValueError):
        return None
