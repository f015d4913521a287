"""A gRPC server: connections in, handlers run (`server_connection`).

What always holds: a connection counts against the limits until it has ended; whatever is refused is counted
with its cause.
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
    """Counts what a server does. Must neither wait nor raise."""

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        """Count a call that reached a gRPC status. `method` is a served path, or `UNKNOWN_METHOD`."""

    def on_refused(self, cause: Cause) -> None:
        """Count a connection or a call that was refused."""


class Server:
    """Serves `services` on any number of listeners or streams."""

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
        """Serve what `listeners` accept, and close them, until cancelled or `stop` has done its work.

        Cancelled, it drops every connection at once.
        """
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(
                    self.serve_connection, list(listeners), handler_nursery=nursery, task_status=task_status
                )

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one connected `stream` and close it. Raises nothing of the peer's doing."""
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
            # A fault of ours that some peer has found: it costs the others nothing.
            _log.exception("rpc_connection_crashed")
        finally:
            self.admission.disconnect(share)
            self._changed.unpark_all()

    def refused(self, cause: Cause, peer: Peer, **details: object) -> None:
        """Count a call that was refused, and log why."""
        self.count_refusal(cause)
        if cause is not Cause.STOPPING:
            _log.warning("rpc_call_refused", peer=str(peer), cause=cause.value, **details)

    def count_refusal(self, cause: Cause) -> None:
        """Count what was refused and is logged elsewhere."""
        if self.observer is not None:
            self.observer.on_refused(cause)

    def _admit(self, stream: trio.abc.Stream) -> PeerShare[Call] | None:
        """Count a connection; None where it is not to be served."""
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

        What has not within `grace_s` is cancelled. Clients are told in a way that loses no call.
        """
        self._stopping = True
        self._accepting.cancel()
        for connection in list(self._connections):
            connection.drain(grace_s)
        while self._connections:
            await self._changed.park()

    async def _handshake(self, stream: trio.abc.Stream) -> bool:
        """TLS, where there is some; False if it came to nothing."""
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
    """The address of a stream whose TLS, if any, has not been set up."""
    return peer_of(stream.transport_stream if isinstance(stream, trio.SSLStream) else stream)
