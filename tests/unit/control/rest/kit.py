"""This module serves a REST app over a real membership, in memory or on a loopback port, and has a bare HTTP
client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, BinaryIO

import h11
import msgspec
import trio
from quart import Response
from quart_trio import QuartTrio

from minicloud.clock import SystemClock
from minicloud.control.feed import EventFeed
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.readiness import Readiness
from minicloud.control.rest.access import Access
from minicloud.control.rest.app import create_rest_app
from minicloud.control.rest.seats import SeatLimits, Seats
from minicloud.control.rest.server import serve_rest
from minicloud.core.commands import Register
from minicloud.core.model import Resources, Status, WorkerId
from minicloud.core.registry import Registry
from minicloud.net.listening import bind_tcp
from minicloud.store.port import MembershipEvent
from tests.unit.control.gated_store import GatedStore


class Rest:
    """A `Rest` is the REST side of a control plane."""

    def __init__(
        self,
        *,
        per_worker: bool = False,
        capacity: int = 10_000,
        copies: Callable[[], Awaitable[BinaryIO]] | None = None,
        access: Access | None = None,
        limits: SeatLimits | None = None,
    ) -> None:
        self.store = GatedStore()
        self.metrics = Metrics(per_worker=per_worker)
        self.membership = Membership(Registry(), self.store, SystemClock(), swept=self.metrics.sweep)
        self.metrics.watch(self.membership)
        self.feed = EventFeed(capacity=capacity)
        self.membership.subscribe(self.feed.publish)
        self.readiness = Readiness()
        self.seats = Seats(limits)
        self.app: QuartTrio = create_rest_app(
            self.membership,
            self.feed,
            self.metrics,
            random=Random(1),
            readiness=self.readiness,
            access=access,
            copies=copies,
        )

    @property
    def client(self) -> Any:
        """Return Quart's own client, in memory; its types ask for arguments it does not need."""
        return self.app.test_client()

    def register(self, *worker_ids: str, **overrides: Any) -> None:
        for worker_id in worker_ids:
            command: dict[str, Any] = {
                "endpoint": f"{worker_id}.example:9091",
                "generated_id": WorkerId("generated"),
                "worker_id": worker_id,
                "resources": Resources(8, 1024, 2048, 3, 0.25, 0.5, 512, 1024),
                "metadata": {"zone": "a"},
            } | overrides
            self.membership.execute(Register(**command))

    @asynccontextmanager
    async def served(self, grace_s: float = 3.0) -> AsyncIterator[int]:
        """Serve the app on a port of 127.0.0.1 until the block ends, and then stop it as the process does."""
        listeners = await bind_tcp(["127.0.0.1"], 0, "HTTP", "--http-port")
        async with trio.open_nursery() as nursery:
            serve = partial(
                serve_rest,
                self.app,
                listeners,
                readiness=self.readiness,
                seats=self.seats,
                grace_s=grace_s,
            )
            port: int = await nursery.start(serve)
            yield port
            self.readiness.begin_stopping()
            nursery.cancel_scope.deadline = trio.current_time() + grace_s + 10
        assert not nursery.cancel_scope.cancelled_caught, "the server did not stop within its grace"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; fail where it does not in five seconds of a virtual clock."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 (what it waits for tells nobody)
            await trio.sleep(0.1)


async def json_of(response: Response) -> Any:
    return msgspec.json.decode(await response.get_data())


async def problem_of(response: Response, status: int) -> dict[str, Any]:
    """Return the problem in `response`, which must be one, of this status and with its own request id."""
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = await json_of(response)
    assert set(problem) == {"type", "title", "status", "detail", "requestId"}
    assert problem["status"] == status
    assert problem["requestId"] == response.headers["x-request-id"] != ""
    return problem


def entry(event_id: int, kind: str = "registered", detail: str = "new") -> MembershipEvent:
    return MembershipEvent(
        event_id, 1000, kind, detail, WorkerId("w"), 1, "w:1", Status.OFFLINE, Status.HEALTHY, "because", "r"
    )


@dataclass
class Answer:
    """An `Answer` is an HTTP answer as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class HttpClient:
    """An `HttpClient` is one HTTP/1.1 connection, used request by request."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._connection = h11.Connection(h11.CLIENT)

    @staticmethod
    @asynccontextmanager
    async def connected(port: int) -> AsyncIterator[HttpClient]:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            yield HttpClient(stream)

    async def send(self, method: str, target: str, headers: dict[str, str] | None = None) -> None:
        """Send a request without a body."""
        await self._send(h11.Request(method=method, target=target, headers=self._headers(headers)))
        await self._send(h11.EndOfMessage())

    async def send_chunks(self, target: str, chunks: int, chunk: bytes, *others: bytes) -> None:
        """Send a POST in chunks without their number: `chunk` so often, then `others`."""
        headers = self._headers({"transfer-encoding": "chunked"})
        await self._send(h11.Request(method="POST", target=target, headers=headers))
        for data in (*[chunk] * chunks, *others):
            await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())

    async def receive(self) -> Answer:
        """Return a whole answer."""
        answer = await self.receive_head()
        while data := await self.receive_data():
            answer.body += data
        return answer

    async def receive_head(self) -> Answer:
        event = await self._next_event()
        assert isinstance(event, h11.Response), event
        return Answer(event.status_code, {name.decode(): value.decode() for name, value in event.headers})

    async def receive_data(self) -> bytes:
        """Return the next piece of the body; it is empty at the end, after which another request may
        be sent."""
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        if self._connection.our_state is self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()
        return b""

    async def request(self, method: str, target: str, headers: dict[str, str] | None = None) -> Answer:
        await self.send(method, target, headers)
        return await self.receive()

    @staticmethod
    def _headers(headers: dict[str, str] | None) -> list[tuple[str, str]]:
        return [("host", "127.0.0.1"), *(headers or {}).items()]

    async def _send(self, event: Any) -> None:
        data = self._connection.send(event)
        assert data is not None
        await self.stream.send_all(data)

    async def _next_event(self) -> Any:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self.stream.receive_some())
        return event
