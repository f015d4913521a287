"""The server's end of a call, as a handler has it: grpclib's server stream, on Trio.

Always holds: headers, messages and trailers are sent in that order, and each at most as often as the protocol
allows; a handler that breaks the order gets a `ProtocolError` (test_handler_out_of_order_is_told).
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeAlias, TypeVar

import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError

from minicloud.http2.compression import unindexed
from minicloud.http2.errors import ErrorCode
from minicloud.http2.events import DataReceived
from minicloud.http2.headers import Header, Headers
from minicloud.http2.peer import Peer
from minicloud.http2.transport import Transport
from minicloud.request_id import HEADER
from minicloud.rpc.admission import Admission, PeerShare
from minicloud.rpc.answers import AnswerBudget
from minicloud.rpc.budget import ByteBudget
from minicloud.rpc.call import Call
from minicloud.rpc.context import CallContext
from minicloud.rpc.framing import Deframer
from minicloud.rpc.metadata import (
    Metadata,
    MetadataLike,
    encode_metadata,
    percent_encode,
)
from minicloud.rpc.refusals import CallRefusedError, Cause
from minicloud.rpc.status_details import HEADER as DETAILS_HEADER
from minicloud.rpc.status_details import encode_details
from minicloud.rpc.timeouts import Deadline

RESPONSE_HEADERS: tuple[Header, ...] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
# A first message that comes at this rate has no time limit.
_LEAST_BYTES_PER_S = 65_536

_REQUEST_ID = HEADER.encode()

_OK_TRAILERS: tuple[Header, ...] = ((b"grpc-status", b"0"),)


class ProtoMessage(Protocol):
    """The methods that betterproto2's messages and Google's have in common."""

    @classmethod
    def FromString(cls, data: bytes, /) -> ProtoMessage: ...  # noqa: N802

    def SerializeToString(self) -> bytes: ...  # noqa: N802


RecvT = TypeVar("RecvT", bound=ProtoMessage)
SendT = TypeVar("SendT", bound=ProtoMessage)


def request_id_header(request_id: str) -> Header:
    """The header that tells the client the id of its request."""
    return unindexed(_REQUEST_ID, request_id.encode())


def error_trailers(status: Status, message: str | None, details: object = None) -> list[Header]:
    """The trailers that end a call with `status`."""
    trailers: list[Header] = [(b"grpc-status", b"%d" % status.value)]
    if message:
        trailers.append((b"grpc-message", percent_encode(message)))
    if details is not None:
        trailers.append((DETAILS_HEADER, encode_details(status, message or "", details)))
    return trailers


class ServerStream(Call, Generic[RecvT, SendT]):
    """One call. `context` has the facts about it, some of them also here, where grpclib has them."""

    __slots__ = (
        "_admission",
        "_cardinality",
        "_headers_sent",
        "_message_by_s",
        "_peer_share",
        "_received",
        "_recv_type",
        "_send_type",
        "_waiting",
        "context",
        "messages_sent",
        "scope",
        "status",
    )

    def __init__(
        self,
        transport: Transport,
        stream_id: int,
        deframer: Deframer,
        budget: ByteBudget,
        answers: AnswerBudget[Call],
        *,
        context: CallContext,
        cardinality: Cardinality,
        recv_type: type[RecvT],
        send_type: type[SendT],
        message_by_s: float,
        admission: Admission[Call],
        peer_share: PeerShare[Call],
    ) -> None:
        super().__init__(transport, stream_id, deframer, budget, answers)
        self.context = context
        self.scope = trio.CancelScope(deadline=context.deadline_s)
        self.status: Status | None = None  # how the call ended, once it has
        self.messages_sent = 0
        self._cardinality = cardinality
        self._recv_type = recv_type
        self._send_type = send_type
        self._headers_sent = False
        self._received = False
        self._message_by_s = message_by_s
        self._admission = admission
        self._peer_share = peer_share
        self._waiting = True  # for the whole first message

    # Events of the client

    def on_data(self, event: DataReceived) -> None:
        super().on_data(event)
        if self._waiting:
            self._message_by_s += len(event.data) / _LEAST_BYTES_PER_S
            if self.ended or self._deframer.has_message:
                self._has_arrived()

    def on_end(self) -> None:
        super().on_end()
        self._has_arrived()

    def give_up(self, cause: Cause, status: Status, message: str) -> None:
        super().give_up(cause, status, message)
        self.scope.cancel()

    def _has_arrived(self) -> None:
        self._waiting = False
        self._admission.arrived(self._peer_share, self)

    async def _wait(self) -> None:
        if not self._waiting:
            return await super()._wait()
        with trio.move_on_at(self._message_by_s):
            return await super()._wait()
        raise CallRefusedError(
            Cause.NO_MESSAGE,
            Status.DEADLINE_EXCEEDED,
            "the first message of the request did not come in time",
        )

    # Operations of the handler

    @property
    def metadata(self) -> Metadata:
        """The metadata that the client sent."""
        return self.context.metadata

    @property
    def user_agent(self) -> str | None:
        """The software of the client; None where it names none."""
        return self.context.user_agent

    @property
    def deadline(self) -> Deadline | None:
        """The time at which the client gives up and the handler is cancelled; None where there is none."""
        return self.context.deadline

    @property
    def peer(self) -> Peer:
        """The address and the certificate of the client."""
        return self.context.peer

    async def recv_message(self) -> RecvT | None:
        """The client's next message; None when there are no more.

        Raises GRPCError, which ends the call when the handler lets it pass: INTERNAL for bytes that are not
        a message of the type, or where the one message of a unary request is missing; RESOURCE_EXHAUSTED
        for one over the limit.
        """
        data = await self.receive()
        if data is None:
            if self._cardinality.client_streaming or self._received:
                return None
            raise GRPCError(Status.INTERNAL, "the request has no message")
        self._received = True
        try:
            return self._recv_type.FromString(data)  # type: ignore[return-value]
        except Exception as exc:
            # Message classes document no set of exceptions for hostile bytes.
            raise CallRefusedError(
                Cause.MESSAGE, Status.INTERNAL, f"request is not a valid {self._recv_type.__name__} message"
            ) from exc

    # This is no generator, because one that is not run to its end has to be closed.
    def __aiter__(self) -> ServerStream[RecvT, SendT]:
        return self

    async def __anext__(self) -> RecvT:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def send_initial_metadata(self, *, metadata: MetadataLike | None = None) -> None:
        """Send the headers now rather than with the first message."""
        if self._headers_sent:
            raise ProtocolError("initial metadata was already sent")
        self._send_headers(encode_metadata(metadata))
        self._transport.wake_writer()

    async def send_message(self, message: SendT) -> None:
        """Send one message; waits while the client does not read.

        Only a streaming answer is a checkpoint each time: a unary one goes out together with the trailers.
        """
        if self.status is not None:
            raise ProtocolError("the call has ended")
        if not isinstance(message, self._send_type):
            raise TypeError(f"message is a {type(message).__name__}, want a {self._send_type.__name__}")
        if self._cardinality.server_streaming:
            await trio.lowlevel.checkpoint()
        elif self.messages_sent:
            raise ProtocolError("the message of a unary answer was already sent")
        data = message.SerializeToString()
        if not self._headers_sent:
            self._send_headers([])
        self.messages_sent += 1
        await self.send(data)

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: object = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        """End the call with `status` before the handler returns, which ends it otherwise."""
        if self.status is not None:
            raise ProtocolError("the call has ended")
        if status is Status.OK and self.lacks_reply:
            raise ProtocolError("a unary answer with status OK wants one message")
        self.finish(status, status_message, status_details, encode_metadata(metadata))

    async def cancel(self) -> None:
        """End the call without a status, by RST_STREAM."""
        if self.status is None:
            self.status = Status.CANCELLED
            self._connection.reset(self.stream_id, ErrorCode.CANCEL)
            self._transport.wake_writer()

    @property
    def lacks_reply(self) -> bool:
        """True where the answer is unary and its one message has not been sent."""
        return not self._cardinality.server_streaming and self.messages_sent == 0

    def finish(
        self, status: Status, message: str | None = None, details: object = None, metadata: Headers = ()
    ) -> None:
        """Send the trailers. Does nothing where the call has ended."""
        if self.status is not None:
            return
        trailers: Headers
        if status is Status.OK and not message and not metadata:
            trailers = _OK_TRAILERS
        else:
            trailers = [*error_trailers(status, message, details), *metadata]
        self.status = status
        if not self._headers_sent:
            trailers = [*RESPONSE_HEADERS, request_id_header(self.context.request_id), *trailers]
        connection = self._connection
        connection.send_headers(self.stream_id, trailers, end_stream=True)
        # A client that still sends would go on until its window is used up.
        connection.reset(self.stream_id, ErrorCode.NO_ERROR)
        self._transport.wake_writer()

    def _send_headers(self, metadata: list[Header]) -> None:
        self._headers_sent = True
        request_id = request_id_header(self.context.request_id)
        self._connection.send_headers(self.stream_id, [*RESPONSE_HEADERS, request_id, *metadata])


AnyStream: TypeAlias = ServerStream[ProtoMessage, ProtoMessage]
