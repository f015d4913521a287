"""This module puts the REST app together: every route, and what the routes have in common.

It does no I/O: `server.py` serves the app, and tests call it in memory.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 (routing asks for it at the first request, when its file may be gone)
from collections.abc import Awaitable, Callable
from random import Random
from typing import BinaryIO, cast

from quart import request
from quart_schema import Info, QuartSchema, Tag
from quart_trio import QuartTrio
from werkzeug.exceptions import ServiceUnavailable

import minicloud
from minicloud.control.feed import EventFeed
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.readiness import Readiness
from minicloud.control.rest import problems
from minicloud.control.rest.access import Access
from minicloud.control.rest.backup import BackupRoutes
from minicloud.control.rest.docs import PAGES, DocsRoutes
from minicloud.control.rest.envelope import App, Envelope, exchange_of
from minicloud.control.rest.events import EventRoutes
from minicloud.control.rest.openapi import OpenApiDocument, path_template
from minicloud.control.rest.probes import PROBES, ProbeRoutes
from minicloud.control.rest.seats import Lane
from minicloud.control.rest.workers import WorkerRoutes


def create_rest_app(
    membership: Membership,
    feed: EventFeed,
    metrics: Metrics,
    *,
    random: Random,
    readiness: Readiness,
    access: Access | None = None,
    copies: Callable[[], Awaitable[BinaryIO]] | None = None,
) -> QuartTrio:
    """Return the app over these parts. `feed`, and with it every event stream, is closed once stopping
    begins. `access` decides who may send which request; by default, addresses and localhost are the only
    hosts. `copies` makes copies of the registry, where it is a file."""
    readiness.on_stopping(feed.close)
    app = QuartTrio(__name__, static_folder=None)
    # Each send has its deadline in the server. Quart's own would end event streams and long answers.
    app.config["RESPONSE_TIMEOUT"] = None
    app.url_map.merge_slashes = False  # it answers with a redirect in HTML
    schema = QuartSchema(
        app,
        openapi_path=None,
        info=Info(
            title="MiniCloud",
            version=minicloud.__version__,
            description="Cluster membership: who is there, how loaded each one is, who may be given work.",
        ),
        tags=[
            Tag(name="workers", description="The workers and what operators say of them."),
            Tag(name="events", description="The history of membership."),
            Tag(name="operation", description="Probes, metrics and backups."),
        ],
        conversion_preference="msgspec",
        openapi_provider_class=OpenApiDocument,
    )
    app.before_request(_before_request(access or Access()))
    app.register_error_handler(Exception, problems.answer)
    WorkerRoutes(membership).add_to(app)
    EventRoutes(feed, membership).add_to(app)
    BackupRoutes(copies).add_to(app)
    ProbeRoutes(readiness, metrics).add_to(app)
    DocsRoutes(schema).add_to(app)
    envelope = Envelope(cast(App, app.asgi_app), metrics, membership.clock, random)
    app.asgi_app = envelope  # type: ignore[assignment] # ours leaves the messages untyped
    return app


def _before_request(access: Access) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        exchange = exchange_of(request.scope)
        if request.url_rule is not None:
            exchange.route = path_template(request.url_rule)
        if exchange.refusal is not None:
            raise exchange.refusal
        access.check(request.method, request.scope["headers"])
        seat = exchange.seat
        if seat is None or exchange.route in PROBES:
            return
        if (seat.lane is Lane.RESERVE and exchange.route in PAGES) or not seat.take_operation():
            raise ServiceUnavailable("nearly all connections are taken: try again later")

    return check
