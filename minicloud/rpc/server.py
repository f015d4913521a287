"""A gRPC server, which accepts connections and runs handlers for their calls (`server_connection`).

Always holds: a connection counts against the limits until it has ended
(test_connections_beyond_the_limit_are_closed_at_once); every refusal is counted with its cause
(test_connection_that_is_dropped_is_counted).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from random import Random
from typing import Protocol

import structlog
import trio
from grpclib.const import Handler, Status

from minicloud.http2.peer import Peer, peer_of
from minicloud.rpc.admission import Admission, PeerShare, peer_key
from minicloud.rpc.answers import AnswerBudget
from minicloud.rpc.budget import ByteBudget
from minicloud.rpc.call import Call
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.refusals import Cause
from minicloud.rpc.servable import Servable
from minicloud.rpc.server_connection import ServerConnection

_log = structlog.get_logger()


class Observer(Protocol):
    """Counts the calls and refusals of a server. Its methods neither wait nor raise."""

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        """Count a call that has ended with `status`. `method` is a served path, or `UNKNOWN_METHOD`."""

    def on_refused(self, cause: Cause) -> None:
        """Count a connection or a call that was refused."""


class Server:
    """A server of `services` on any number of listeners or streams."""

    def __init__(
        self,
        services: Iterable[Servable],
        *,
        random: Random,
        limits: ServerLimits | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`random` makes request ids.

        A GRPCError that a handler raises is its call's status. Any other exception is a fault of ours: status
        UNKNOWN, its text kept from the client, and one error line.
        """
        self.methods: dict[str, Handler] = {}
        for service in services:
            self.methods.update(service.__mapping__())
        self.random = random
        self.limits = limits or ServerLimits()
        self.observer = observer
        self.admission: Admission[Call] = Admission(self.limits)
        self.budget = ByteBudget(self.limits.max_received_bytes)
        self.answers: AnswerBudget[Call] = AnswerBudget(self.limits.max_answer_bytes)
        self._connections: dict[ServerConnection, None] = {}  # a set with an order
        self._accepting = trio.CancelScope()
        self._stopping = False
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def open_connections(self) -> int:
        return self.admission.open_connections

    @property
    def active_calls(self) -> int:
        return self.admission.active_calls

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[Sequence[trio.abc.Listener[trio.abc.Stream]]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the connections that `listeners` accept until `stop` has ended; then close the listeners.

        Cancellation drops every connection at once.
        """
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(
                    self.serve_connection, list(listeners), handler_nursery=nursery, task_status=task_status
                )

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one connected `stream` and close it. No conduct of the peer makes it raise."""
        share = self._admit(stream)
        if share is None:
            await trio.aclose_forcefully(stream)
            return
        try:
            if await self._handshake(stream):
                connection = ServerConnection(self, stream, share)
                self._connections[connection] = None
                try:
                    await connection.run()
                finally:
                    del self._connections[connection]
        except Exception:
            # A fault of ours that some peer has found ends its connection and no other.
            _log.exception("rpc_connection_crashed")
        finally:
            self.admission.disconnect(share)
            self._changed.unpark_all()

    def refused(self, cause: Cause, peer: Peer, **details: object) -> None:
        """Count a call that was refused, and log the cause."""
        self.count_refusal(cause)
        if cause is not Cause.STOPPING:
            _log.warning("rpc_call_refused", peer=str(peer), cause=cause.value, **details)

    def count_refusal(self, cause: Cause) -> None:
        """Count a refusal that is logged elsewhere."""
        if self.observer is not None:
            self.observer.on_refused(cause)

    def _admit(self, stream: trio.abc.Stream) -> PeerShare[Call] | None:
        """Count a connection; None where it is refused."""
        peer = _peer(stream)
        key: Hashable = peer_key(peer.address[0]) if peer.address else object()
        share = Cause.STOPPING if self._stopping else self.admission.connect(key)
        if not isinstance(share, Cause):
            return share
        self.count_refusal(share)
        open_connections = self.admission.open_connections
        _log.warning("rpc_connection_refused", peer=str(peer), cause=share.value, open=open_connections)
        return None

    async def stop(self, grace_s: float) -> None:
        """Accept no more connections and calls, and return when those in flight have finished.

        Calls that have not finished within `grace_s` are cancelled. No call of a client is lost that was on
        its way (test_stop_lets_calls_finish_and_loses_none_that_was_on_its_way).
        """
        self._stopping = True
        self._accepting.cancel()
        for connection in list(self._connections):
            connection.drain(grace_s)
        while self._connections:
            await self._changed.park()

    async def _handshake(self, stream: trio.abc.Stream) -> bool:
        """Do the TLS handshake, where there is TLS; False where it fails."""
        if not isinstance(stream, trio.SSLStream):
            return True
        reason = "TLS handshake timed out"
        with trio.move_on_after(self.limits.timeouts.handshake_s):
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as exc:
                reason = f"TLS handshake failed: {exc.__cause__ or exc}"
            else:
                if stream.selected_alpn_protocol() != "h2":
                    reason = "TLS client does not offer h2 by ALPN"
                elif self._stopping:
                    reason = "server is stopping"
                else:
                    return True
        self.count_refusal(Cause.HANDSHAKE)
        _log.info("rpc_connection_dropped", peer=str(_peer(stream)), reason=reason)
        await trio.aclose_forcefully(stream)
        return False


def _peer(stream: trio.abc.Stream) -> Peer:
    """The address of a stream before its TLS handshake, where there is one."""
    return peer_of(stream.transport_stream if isinstance(stream, trio.SSLStream) else stream)
