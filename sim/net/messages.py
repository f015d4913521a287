"""Unary calls as serialized messages over a `Link`, under the generated stubs: `--depth messages`.

`MessageChannel` takes the place of a gRPC channel, `MessageServer` that of a gRPC server. Between them
messages may be lost, doubled and reordered, which HTTP/2 connections do not do; the protocol has to stand
that all the same. A process that has ended refuses calls, as its machine does; a paused one does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any

import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from minicloud.request_id import HEADER, bind_request_id
from sim.engine.clocks import NodeClock
from sim.engine.process import Process
from sim.engine.timeline import Parked
from sim.engine.wait import Wait
from sim.net.exchanges import ANSWERED, ARRIVED, RETURNED, Exchange
from sim.net.network import Link
from sim.net.processor import Processor

_MOST_QUEUED = 10_000  # as the gRPC server's `max_calls`
_LATE = (Status.DEADLINE_EXCEEDED, "deadline exceeded", b"")  # how a call ends that is not answered in time


class MessageServer:
    """Serves `services` in `process`; each call takes `service_time_s()` of its one processor.

    `failures` collects unexpected exceptions of handlers.
    """

    def __init__(
        self, process: Process, services: Sequence[Any], service_time_s: Callable[[], float]
    ) -> None:
        self.failures: list[tuple[str, Exception]] = []
        self.process = process
        self._handlers: dict[str, Handler] = {}
        for service in services:
            self._handlers.update(service.__mapping__())
        self._processor = Processor(process.timeline, service_time_s)
        self._serving = False
        self._open: dict[_ServerCall, None] = {}  # taken in and not yet answered
        process.at_end[self.reset] = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        self._serving = True
        task_status.started()
        await trio.sleep_forever()

    @property
    def open_calls(self) -> int:
        return len(self._open)

    def accept(self, call: _ClientCall, route: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Take in a request that has arrived."""
        if not self.process.alive or not self._serving:
            call.reply(Status.UNAVAILABLE, "connection refused", b"")
            return
        if len(self._open) >= _MOST_QUEUED:
            call.reply(Status.UNAVAILABLE, "the server has too many calls", b"")
            return
        taken = _ServerCall(call, route, data, metadata)
        self._open[taken] = None
        self.process.timeline.at(self._processor.take(), self._begin, taken, host=self.process)

    def reset(self, clients: Container[str] | None = None) -> None:
        """Break the connections of these clients, by default of all; clients that can be reached notice."""
        for taken in list(self._open):
            if clients is None or taken.call.client in clients:
                del self._open[taken]
                taken.call.reply(Status.UNAVAILABLE, "connection reset", b"")

    def _begin(self, taken: _ServerCall) -> None:
        if taken in self._open:
            self._go_on(taken, self._handle(taken), copy_context())

    def _go_on(self, taken: _ServerCall, handling: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a handler to its end, or until it waits for the disk.

        Handlers are coroutines that wait for nothing else: run here rather than in a task of its own, a call
        takes two thirds of the time.
        """
        try:
            wanted = context.run(handling.send, None)
        except StopIteration:
            return
        assert isinstance(wanted, Wait), "at this depth a handler can wait for the disk alone"
        wanted.then(self.process, self._go_on, taken, handling, context)

    async def _handle(self, taken: _ServerCall) -> None:
        bind_request_id(taken.metadata.get(HEADER, ""))
        handler = self._handlers.get(taken.route)
        status, message = Status.OK, ""
        if handler is None:
            status, message = Status.UNIMPLEMENTED, f"no such method: {taken.route}"
        else:
            taken.request_type = handler.request_type
            try:
                await handler.func(taken)
            except GRPCError as error:
                status, message = error.status, error.message or ""
            except Exception as error:
                self.failures.append((taken.route, error))
                status, message = Status.UNKNOWN, "internal server error"
        if taken in self._open:
            del self._open[taken]
            if self.process.alive:
                taken.call.reply(status, message, taken.answer)


class _ServerCall:
    """A unary call on the side of its handler."""

    __slots__ = ("_data", "answer", "call", "metadata", "request_type", "route")

    def __init__(self, call: _ClientCall, route: str, data: bytes, metadata: Mapping[str, str]) -> None:
        self.call = call
        self.route = route
        self.metadata = metadata
        self.request_type: Any = None
        self.answer = b""
        self._data = data

    async def recv_message(self) -> Any:
        try:
            return self.request_type.FromString(self._data)
        except ValueError as error:
            raise GRPCError(Status.INTERNAL, str(error)) from None

    async def send_message(self, answer: Any) -> None:
        self.answer = answer.SerializeToString()


class MessageChannel:
    """The channel of a stub in `process` to the server at the other end of `link`.

    `find` returns the server that is there now, or None where there never was one: programs come and go,
    addresses stay.
    """

    def __init__(
        self, process: Process, clock: NodeClock, link: Link, find: Callable[[], MessageServer | None]
    ) -> None:
        self.process = process
        self.clock = clock
        self.link = link
        self.find = find
        exchange_observer = link.network.exchange_observer
        self.calls = exchange_observer.of(link.client) if exchange_observer is not None else None

    def request(
        self,
        route: str,
        cardinality: Cardinality,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        timeout: float | None = None,
        deadline: object = None,
        metadata: Mapping[str, str] | None = None,
    ) -> _ClientCall:
        """Make a call, as a generated stub does."""
        assert cardinality is Cardinality.UNARY_UNARY, f"{route} is not unary"
        return _ClientCall(self, route, reply_type, timeout, metadata or {})


class _ClientCall:
    """A unary call on the side of its stub."""

    __slots__ = (
        "_channel",
        "_exchange",
        "_expires_s",
        "_metadata",
        "_outcome",
        "_parked",
        "_reply_type",
        "_route",
        "_timeout",
        "_timeout_s",
    )

    def __init__(
        self,
        channel: MessageChannel,
        route: str,
        reply_type: type[Any],
        timeout_s: float | None,
        metadata: Mapping[str, str],
    ) -> None:
        self._channel = channel
        self._route = route
        self._reply_type = reply_type
        self._timeout_s = timeout_s
        self._metadata = metadata
        self._parked: Parked | None = None  # where its stub waits
        self._outcome: tuple[Status, str, bytes] | None = None
        self._expires_s = 0.0
        self._timeout = 0  # the number of the event; 0 is none
        self._exchange: Exchange | None = None  # where a exchange_observer is kept

    @property
    def client(self) -> str:
        """The name of the node that made it."""
        return self._channel.link.client

    async def __aenter__(self) -> _ClientCall:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        channel = self._channel
        if not channel.process.alive:
            return
        link = channel.link
        network = link.network
        if self._timeout_s is not None:
            self._expires_s = channel.clock.true_s_in(self._timeout_s)
            self._timeout = network.timeline.at(self._expires_s, self._end, *_LATE, host=channel.process)
        if channel.calls is not None:
            self._exchange = Exchange(link.client, link.server, self._route, network.timeline.now_s)
            channel.calls.append(self._exchange)
        link.send(link.to_server, self._arrive, message.SerializeToString())

    async def recv_message(self) -> Any:
        if self._outcome is None:
            self._parked = Parked()
            await self._parked
        assert self._outcome is not None
        status, text, data = self._outcome
        if status is not Status.OK:
            raise GRPCError(status, text)
        return self._reply_type.FromString(data)

    def reply(self, status: Status, message: str, data: bytes) -> None:
        """The server's end of the call says how it ended."""
        link = self._channel.link
        if self._exchange is not None:
            self._exchange.steps.append((ANSWERED, link.network.timeline.now_s))
            self._exchange.status = status
        link.send(link.to_client, self._replied, status, message, data)

    def _arrive(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.steps.append((ARRIVED, self._channel.link.network.timeline.now_s))
        server = self._channel.find()
        if server is None:
            self.reply(Status.UNAVAILABLE, "connection refused", b"")
            return
        server.accept(self, self._route, data, self._metadata)

    def _replied(self, status: Status, message: str, data: bytes) -> None:
        exchange = self._exchange
        channel = self._channel
        if exchange is not None:
            network = channel.link.network
            exchange.steps.append((RETURNED, network.timeline.now_s))
            exchange.status = status
            if network.exchange_observer is not None:
                network.exchange_observer.returned(exchange)
        channel.process.carry_out(self._end, status, message, data)

    def _end(self, status: Status, message: str, data: bytes) -> None:
        if self._outcome is not None:
            return
        self._outcome = (status, message, data)
        if self._timeout:
            self._channel.process.timeline.drop(self._expires_s, self._timeout)
        if self._parked is not None:
            self._parked.wake()
