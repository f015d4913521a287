"""`/api/events` has the history of membership, as JSON or as a stream of server-sent events.

An event is shown once it is durable. Otherwise its id could be given to another event after a crash, and a
client that resumes from that id would miss it. While the store cannot write, the history therefore ends with
the last durable event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from types import TracebackType

import msgspec
import trio
from msgspec import UNSET
from quart import Quart, Response, request
from quart.wrappers.response import ResponseBody
from quart_schema import validate_querystring
from werkzeug.exceptions import ServiceUnavailable

from minicloud.control.feed import EntriesLostError, EventFeed, Follower, Gap, Span
from minicloud.control.membership import Membership
from minicloud.control.rest.openapi import Answer, operation
from minicloud.control.rest.parameters import LARGEST_EVENT_ID, EventsQuery, event_id_header
from minicloud.control.rest.pieces import BrokenOffError, response_of
from minicloud.control.rest.schemas import EventJson, GapJson, event_json
from minicloud.control.rest.seats import HalfClose, seat_of
from minicloud.core.errors import StoreUnavailableError
from minicloud.store.port import MembershipEvent

DEFAULT_EVENTS = 100
# Proxies commonly close a silent connection after 60 s.
KEEP_ALIVE_S = 15.0
STORE_AGAIN_S = 1.0  # between two tries while the store cannot write
RETRY_MS = 2000  # after which a browser connects again

_STREAM = "text/event-stream"

_ANSWER = Answer(
    "The history, newest last; or, for `Accept: text/event-stream`, every event as it happens, with its id, "
    "its kind as the type and the JSON of an event as the data. A `gap` says that events were missed.",
    {"application/json": list[EventJson], _STREAM: {"type": "string"}},
)
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "For a stream: goes on behind this id. Browsers send it when they connect again.",
    "schema": {"type": "integer", "minimum": 0, "maximum": LARGEST_EVENT_ID},
}


class EventRoutes:
    """This is the handler over one feed."""

    def __init__(self, feed: EventFeed, membership: Membership) -> None:
        self._feed = feed
        self._membership = membership

    def add_to(self, app: Quart) -> None:
        app.add_url_rule("/api/events", view_func=self.events)

    @operation("listEvents", "events", {HTTPStatus.OK: _ANSWER}, header_parameters=(_LAST_EVENT_ID,))
    @validate_querystring(EventsQuery)
    async def events(self, query_args: EventsQuery) -> Response:
        """List or follow the changes of membership

        Without an id to start behind, JSON gives the newest events and a stream those from now on.
        """
        after: int | None = None
        if (header := request.headers.get("Last-Event-ID")) is not None:
            after = event_id_header(header)
        elif query_args.last_event_id is not UNSET:
            after = query_args.last_event_id
        elif query_args.after is not UNSET:
            after = query_args.after
        wanted = request.accept_mimetypes.best_match(["application/json", _STREAM])
        if wanted == _STREAM:
            return self._stream(after)
        limit = DEFAULT_EVENTS if query_args.limit is UNSET else query_args.limit
        span = self._feed.span(after, limit)
        try:
            await self._membership.durable()
        except StoreUnavailableError:
            span = Span(span.after_id, min(span.last_id, self._membership.durable_event_id))
        response = await response_of(self._array(span), "application/json")
        response.headers["Vary"] = "Accept"
        return response

    def _array(self, span: Span) -> Iterator[bytes]:
        """Yield the events of `span` as a JSON array, with an empty part after each slice.

        Raise `BrokenOffError` where the client reads so slowly that some events are dropped meanwhile.
        """
        begin = b"["
        try:
            for entries in self._feed.slices(span):
                for entry in entries:
                    yield begin + msgspec.json.encode(event_json(entry))
                    begin = b","
                yield b""
        except EntriesLostError:
            raise BrokenOffError from None
        yield b"]" if begin == b"," else b"[]"

    def _stream(self, after: int | None) -> Response:
        headers = {"Vary": "Accept", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            response = Response(b"", content_type=_STREAM, headers=headers)
            del response.headers["Content-Length"]  # a stream has none
            return response
        seat = seat_of(request.scope)
        if seat is not None and not seat.take_stream():
            raise ServiceUnavailable("there are as many event streams as may be: try again later")
        half_closed = seat.half_closed if seat is not None else HalfClose()
        body = EventStream(self._feed.follow(after), self._membership.durable, half_closed)
        return Response(body, content_type=_STREAM, headers=headers)


class EventStream(ResponseBody):
    """This is a follower as the body of a response. It is not a generator, as a cancelled request would leave
    a generator unclosed."""

    def __init__(
        self,
        follower: Follower,
        durable: Callable[[], Awaitable[None]],
        half_closed: HalfClose | None = None,
    ) -> None:
        self._follower = follower
        self._durable = durable
        self._half_closed = half_closed or HalfClose()
        self._begun = False
        self._held: tuple[MembershipEvent, ...] = ()  # what was received and is not durable yet

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if not self._begun:
            self._begun = True
            # An id without data is not an event; the client resumes from it if the stream ends before one.
            return f"id: {self._follower.seen_id}\nretry: {RETRY_MS}\n\n".encode()
        received: Gap | tuple[MembershipEvent, ...] | None = None
        try:
            with trio.move_on_after(KEEP_ALIVE_S) as waiting:
                self._half_closed.ended_by(waiting)
                received = self._held or await self._follower.receive()
                if not isinstance(received, Gap):
                    self._held, received = received, None
                    await self._until_durable()
                    self._held, received = (), self._held
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if received is None:
            if self._half_closed.happened:  # most likely it has left
                raise StopAsyncIteration
            return b": keep-alive\n\n"
        if isinstance(received, Gap):
            gap = GapJson(received.seen_id, received.resumed_id)
            return _event(received.resumed_id, "gap", msgspec.json.encode(gap))
        return b"".join(
            _event(entry.event_id, entry.kind, msgspec.json.encode(event_json(entry))) for entry in received
        )

    async def _until_durable(self) -> None:
        """Return once everything that was received is durable, however long the store cannot write."""
        while True:
            try:
                await self._durable()
                return
            except StoreUnavailableError:
                await trio.sleep(STORE_AGAIN_S)


def _event(event_id: int, kind: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event_id, kind.encode(), data)
