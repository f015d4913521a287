"""`/api/registry`: the registry as a whole, to be kept elsewhere.

Always holds: a copy is sent a chunk at a time, from a file that is gone when the answer ends, in any way.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from typing import BinaryIO, Self
from weakref import WeakSet

import structlog
import trio
from quart import Quart, Response
from quart.wrappers.response import ResponseBody
from quart_schema import validate_querystring
from werkzeug.exceptions import Conflict, ServiceUnavailable

from minicloud.control.rest.openapi import Answer, operation
from minicloud.control.rest.parameters import NoQuery

TAG = "operation"

# Copies on their way to clients. Each takes a registry's worth of disk for as long as its client reads.
MAX_BACKUPS = 4
CONTENT_TYPE = "application/vnd.sqlite3"

_CHUNK_BYTES = 64 * 1024

log = structlog.get_logger()


class RegistryRoutes:
    """The handlers over what makes copies of the registry: open files that are gone once closed. None: there
    is no file to copy."""

    def __init__(self, copies: Callable[[], Awaitable[BinaryIO]] | None) -> None:
        self._copies = copies
        self._sending: WeakSet[_Copy] = WeakSet()

    def add_to(self, app: Quart) -> None:
        app.add_url_rule("/api/registry/backup", view_func=self.backup, methods=["POST"])

    @operation(
        "backUpRegistry",
        TAG,
        {
            HTTPStatus.OK: Answer(
                "The registry as of now: a SQLite file, for `minicloud restore`.",
                {CONTENT_TYPE: {"type": "string", "format": "binary"}},
            )
        },
        refusals={
            HTTPStatus.FORBIDDEN: "The request comes from a page of another site.",
            HTTPStatus.CONFLICT: "The registry is kept in memory: there is no file of it.",
            HTTPStatus.SERVICE_UNAVAILABLE: "It could not be copied, or is being copied for too many.",
        },
    )
    @validate_querystring(NoQuery)
    async def backup(self, query_args: NoQuery) -> Response:
        """Take a copy of the registry

        Consistent, and made while everything else goes on.
        """
        if self._copies is None:
            raise Conflict(
                "this control plane keeps its registry in memory (--data-dir none): nothing to copy"
            )
        if len(self._sending) >= MAX_BACKUPS:
            raise ServiceUnavailable(
                f"{MAX_BACKUPS} copies of the registry are being sent already: try again later"
            )
        body = _Copy(self._sending)
        try:
            body.file = await self._copies()
        except BaseException:
            self._sending.discard(body)
            raise
        size_bytes = os.fstat(body.file.fileno()).st_size
        log.info("registry_copied", size_bytes=size_bytes)
        response = Response(body, content_type=CONTENT_TYPE)
        response.headers["Content-Length"] = str(size_bytes)
        response.headers["Content-Disposition"] = 'attachment; filename="minicloud-registry.db"'
        return response


class _Copy(ResponseBody):
    """One copy, among those `sending` until it has been sent. Or until there is no such object any more: an
    answer that is given up before it began is neither entered nor left."""

    def __init__(self, sending: WeakSet[_Copy]) -> None:
        self.file: BinaryIO | None = None
        self._sending = sending
        sending.add(self)

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.file is not None
        self.file.close()
        self._sending.discard(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        assert self.file is not None
        chunk: bytes = await trio.to_thread.run_sync(self.file.read, _CHUNK_BYTES)
        if not chunk:
            raise StopAsyncIteration
        return chunk
