"""This module makes long answers while they are sent.

A client that does not read holds one piece of an answer and the source of the rest, however long the answer
is. All such answers share one budget (`Seat.take_answer_bytes`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import trio
from quart import Response, request
from quart.wrappers.response import ResponseBody
from werkzeug.exceptions import ServiceUnavailable

from minicloud.control.rest.seats import MAX_ANSWER_BYTES, seat_of

# An answer up to this is made before it is sent, with its length. Each piece of a longer one has at least
# this much, so that the fixed cost of sending a piece counts little.
PIECE_BYTES = 32 * 1024
# A piece is held twice: as it was made, and in its HTTP/1.1 frame.
_HELD_BYTES = 2 * PIECE_BYTES

_GZIP = 16 + zlib.MAX_WBITS


class BrokenOffError(Exception):
    """The rest of an answer cannot be made. Its connection is closed, so that its client notices."""


async def response_of(parts: Iterator[bytes], content_type: str, *, source_bytes: int = 0) -> Response:
    """Return a response of `parts`, joined to pieces. Other tasks run after each empty part.

    `source_bytes` is held until the answer is over, besides a piece. Raise `ServiceUnavailable` where the
    answer is long and the budget is used up.
    """
    pieces = _Pieces(parts)
    await pieces.make_first()
    if len(pieces.first) < PIECE_BYTES:
        return Response(pieces.first, content_type=content_type)
    seat = seat_of(request.scope)
    if seat is not None and not seat.take_answer_bytes(_HELD_BYTES + source_bytes):
        raise ServiceUnavailable(
            f"answers that are being sent hold {MAX_ANSWER_BYTES} bytes: try again later, or set a limit"
        )
    return Response(pieces, content_type=content_type)


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `parts` as one gzip stream."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


class _Pieces(ResponseBody):
    """These are pieces of at least `PIECE_BYTES`, except for the last one. This is not an async generator, as
    a cancelled request would leave a generator unclosed."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.first = b""
        self._parts = parts

    async def make_first(self) -> None:
        self.first = await self._next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece, self.first = self.first or await self._next(), b""
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _next(self) -> bytes:
        """Return the next piece; empty at the end."""
        piece = bytearray()
        await trio.lowlevel.checkpoint()
        for part in self._parts:
            piece += part
            if len(piece) >= PIECE_BYTES:
                break
            if not part:
                await trio.lowlevel.checkpoint()
        return bytes(piece)
