"""This module has a client that sends HTTP/2 frame by frame, correct or not."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from hpack import Decoder, Encoder
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.http2.config import Timeouts
from minicloud.http2.connection import PREFACE
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.server import Server
from tests.unit.http2.raw_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    REQUEST_HEADERS,
    SETTINGS,
    Frame,
    frame_bytes,
)


def message_bytes(data: bytes, *, compressed: bool = False, size: int | None = None) -> bytes:
    """Return a length-prefixed message. Its prefix is `size`, if given, instead of its length."""
    return bytes([compressed]) + (len(data) if size is None else size).to_bytes(4, "big") + data


class RawPeer:
    """A `RawPeer` is the client's end of a connection to `server`, played by hand."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.frames: list[Frame] = []  # received and not yet looked at
        self.closed = False
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._inbox = bytearray()

    async def start(self) -> None:
        await self.stream.send_all(PREFACE + frame_bytes(SETTINGS, 0, 0))

    async def send(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        await self.stream.send_all(frame_bytes(kind, flags, stream_id, payload))

    def header_block(self, changed: Mapping[bytes, bytes | None] | None = None) -> bytes:
        headers = {**REQUEST_HEADERS, **(changed or {})}
        return self._encoder.encode([(k, v) for k, v in headers.items() if v is not None])

    async def request(
        self,
        stream_id: int,
        changed: Mapping[bytes, bytes | None] | None = None,
        body: bytes | None = b"\0\0\0\0\0",
        *,
        end: bool = True,
    ) -> None:
        """Send a call's headers, `changed` from the usual ones, and a body, which an empty message
        parses from."""
        block = self.header_block(changed)
        if body is None:
            await self.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block)
            return
        data = frame_bytes(HEADERS, END_HEADERS, stream_id, block)
        await self.stream.send_all(data + frame_bytes(DATA, END_STREAM if end else 0, stream_id, body))

    async def read(self) -> bool:
        """Receive bytes; return False at the end."""
        try:
            data = await self.stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self.closed = True
            return False
        self._inbox += data
        while len(self._inbox) >= 9 and len(self._inbox) >= 9 + int.from_bytes(self._inbox[:3], "big"):
            end = 9 + int.from_bytes(self._inbox[:3], "big")
            raw = bytes(self._inbox[:end])
            del self._inbox[:end]
            headers: list[tuple[str, str]] = []
            if raw[3] == HEADERS:  # all of them, in their order, or the table of names goes wrong
                decoded = self._decoder.decode(raw[9:], raw=True)
                headers = [(bytes(k).decode(), bytes(v).decode()) for k, v in decoded]
            stream_id = int.from_bytes(raw[5:9], "big")
            self.frames.append(Frame(raw[3], raw[4], stream_id, raw[9:], tuple(headers)))
        return True

    async def expect(self, kind: int, stream_id: int | None = None) -> Frame:
        """Return the next frame of this kind (and stream); those before it are dropped."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if frame.kind == kind and stream_id in (None, frame.stream_id):
                    return frame
            assert await self.read(), f"connection closed while waiting for frame {kind}"

    async def expect_headers(self, stream_id: int) -> dict[str, str]:
        return dict((await self.expect(HEADERS, stream_id)).headers)

    async def expect_close(self) -> list[Frame]:
        """Return all frames up to the end of the connection."""
        while await self.read():
            pass
        return self.frames


@asynccontextmanager
async def raw_peer(server: Server) -> AsyncIterator[RawPeer]:
    """Return a peer connected to `server` in memory that has sent nothing yet."""
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, far)
        await wait_all_tasks_blocked()
        yield RawPeer(near)
        nursery.cancel_scope.cancel()


def limits_with(**timeouts: float) -> ServerLimits:
    """Return limits with no timeouts but these."""
    off: dict[str, Any] = dict.fromkeys(("keepalive_s", "max_idle_s", "max_age_s"), math.inf)
    return ServerLimits(timeouts=Timeouts(**{**off, **timeouts}))


def dropped(logs: list[Any]) -> list[str]:
    """Return the reasons for which connections were dropped, from the log."""
    return [line["reason"] for line in logs if line["event"] == "rpc_connection_dropped"]


async def serves(server: Server) -> bool:
    """Return True if the server still serves others."""
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1)
        await peer.expect_headers(1)
        return (await peer.expect_headers(1))["grpc-status"] == "0"
