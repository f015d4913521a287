"""`/api/registry/backup` sends a copy of the whole registry.

Always holds: a copy is sent a chunk at a time, from a file that is closed when the answer ends, in any way
(`tests/unit/control/rest/test_backup.py`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from typing import BinaryIO, Self
from weakref import WeakSet

import structlog
import trio
from quart import Quart, Response, request
from quart.wrappers.response import ResponseBody
from quart_schema import validate_querystring
from werkzeug.exceptions import Conflict, ServiceUnavailable

from minicloud.control.rest.openapi import Answer, operation
from minicloud.control.rest.parameters import NoQuery
from minicloud.control.rest.seats import seat_of

TAG = "operation"

# At most this many copies are sent at a time. Each takes as much disk as the registry while its client reads.
MAX_BACKUPS = 4
CONTENT_TYPE = "application/vnd.sqlite3"

_CHUNK_BYTES = 64 * 1024

log = structlog.get_logger()


class BackupRoutes:
    """These are the handlers over `copies`, which makes copies of the registry: open files that are deleted
    once closed. It is None where the registry is not a file."""

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
        seat = seat_of(request.scope)
        if seat is not None:
            seat.when_over(body.close)  # also where the answer never begins
        try:
            body.hold(await self._copies())
        except BaseException:
            body.close()
            raise
        if body.file is None:
            raise ServiceUnavailable("the client has left")
        size_bytes = os.fstat(body.file.fileno()).st_size
        log.info("registry_copied", size_bytes=size_bytes)
        response = Response(body, content_type=CONTENT_TYPE)
        response.headers["Content-Length"] = str(size_bytes)
        response.headers["Content-Disposition"] = 'attachment; filename="minicloud-registry.db"'
        return response


class _Copy(ResponseBody):
    """This is one copy, a member of `sending` until it is closed or collected: an answer that is given up
    before it begins is neither entered nor left."""

    def __init__(self, sending: WeakSet[_Copy]) -> None:
        self.file: BinaryIO | None = None
        self._sending = sending
        self._turn = threading.Lock()  # for the loop and the thread that reads
        self._closed = False
        self._reading = False  # a thread has the file
        sending.add(self)

    def __del__(self) -> None:
        self.close()

    def hold(self, file: BinaryIO) -> None:
        """Take the file; close it at once where the copy is closed already."""
        self.file = file
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close the file, once no thread reads from it. A second call changes nothing."""
        self._sending.discard(self)
        with self._turn:
            self._closed = True
            if self.file is not None and not self._reading:
                self.file.close()
                self.file = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def _read(self) -> bytes:
        """Read a chunk, in a thread. A thread that a disk delays is abandoned, and closes the file itself."""
        with self._turn:
            file = self.file
            if file is None or self._closed:
                return b""
            self._reading = True
        try:
            return file.read(_CHUNK_BYTES)
        finally:
            self._done_reading()

    def _done_reading(self) -> None:
        with self._turn:
            self._reading = False
            closed = self._closed
        if closed:
            self.close()
