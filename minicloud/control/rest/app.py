"""The REST app: every route, and what they have in common, put together.

Does no I/O of its own: `server.py` carries it, tests call it in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from quart import request
from quart_schema import Info, QuartSchema, Tag
from quart_trio import QuartTrio
from werkzeug.exceptions import Forbidden

import minicloud
from minicloud.control.feed import EventFeed
from minicloud.control.membership import Membership
from minicloud.control.metrics import Metrics
from minicloud.control.rest import problems
from minicloud.control.rest.docs import DocsRoutes
from minicloud.control.rest.envelope import App, Envelope, exchange_of
from minicloud.control.rest.events import EventRoutes
from minicloud.control.rest.openapi import OpenApiDocument, path_template
from minicloud.control.rest.probes import ProbeRoutes
from minicloud.control.rest.readiness import Readiness
from minicloud.control.rest.registry import RegistryRoutes
from minicloud.control.rest.workers import WorkerRoutes

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def create_rest_app(
    membership: Membership,
    feed: EventFeed,
    metrics: Metrics,
    *,
    random: Random,
    readiness: Readiness,
    copies: Callable[[], Awaitable[BinaryIO]] | None = None,
) -> QuartTrio:
    """The app over these parts. `feed` is closed, and with it every event stream, once stopping begins.
    `copies` makes copies of the registry, where there is a file of it."""
    readiness.on_stopping(feed.close)
    app = QuartTrio(__name__, static_folder=None)
    # Each send has its deadline in the server. Quart's own would cut event streams off, and cut any answer
    # short in its middle.
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
    app.before_request(_before_request)
    app.register_error_handler(Exception, problems.answer)
    WorkerRoutes(membership).add_to(app)
    EventRoutes(feed, membership).add_to(app)
    RegistryRoutes(copies).add_to(app)
    ProbeRoutes(readiness, metrics).add_to(app)
    DocsRoutes(schema).add_to(app)
    envelope = Envelope(cast(App, app.asgi_app), metrics, membership.clock, random)
    app.asgi_app = envelope  # type: ignore[assignment] # ours leaves the messages untyped
    return app


async def _before_request() -> None:
    exchange = exchange_of(request.scope)
    if request.url_rule is not None:
        exchange.route = path_template(request.url_rule)
    if exchange.refusal is not None:
        raise exchange.refusal
    origin = request.headers.get("Origin")
    # A page of another site may send a POST without asking first; its browser says so here.
    if (
        origin is not None
        and request.method not in _SAFE_METHODS
        and urlsplit(origin).netloc != request.headers.get("Host")
    ):
        raise Forbidden(f"{origin[:128]} may not change anything here: only pages of this server may")
