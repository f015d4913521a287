"""A crowd and some vandals come to a real control plane, while one worker has to stay well."""

from __future__ import annotations

import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest
import trio
from hpack import Encoder

from minicloud.http2.connection import PREFACE
from minicloud.log import STORM_LINES
from tests.integration.processes import HOST, WITHIN_S, ControlPlane, Launcher, Worker
from tests.unit.http2.raw_frames import (
    CANCEL,
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    REQUEST_HEADERS,
    RST_STREAM,
    SETTINGS,
    frame_bytes,
)

CROWD, SMALL_CROWD = 10_000, 2_000  # the second is for machines with too few open files for the first
AT_ONCE = 50
ARRIVES_WITHIN_S = 40.0
HANDSHAKE = PREFACE + frame_bytes(SETTINGS, 0, 0)
MIB = 2**20


@pytest.fixture
def crowd() -> Iterator[int]:
    """Return how many connections the machine allows; this process may meanwhile have as many open files as
    ever."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = [count for count in (CROWD, SMALL_CROWD) if hard == resource.RLIM_INFINITY or hard >= 2 * count]
    if not enough:
        pytest.skip(f"{hard} open files are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield enough[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Watched:
    """A `Watched` is a control plane with one well-behaved worker, and its memory before any crowd came."""

    def __init__(self, launch: Launcher) -> None:
        # Within this timeout a call counts as served: it is more than a busy machine takes for one.
        self.control_plane: ControlPlane = launch.control_plane(timeout="5s")
        self.worker: Worker = launch.worker(self.control_plane, "good")
        assert self.worker.worker_id == "good"
        self._before_bytes = self._memory_bytes()

    def _memory_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self.control_plane.tree)

    @property
    def grown_bytes(self) -> int:
        return self._memory_bytes() - self._before_bytes

    def check(self) -> None:
        """Check that the worker has been served all the time, and is now."""
        assert not self.worker.logged("contact_lost")
        assert [entry["kind"] for entry in self.control_plane.events_of("good")] == ["registered"]
        self.control_plane.until_heard_from("good")
        assert self.control_plane.statuses == {"good": "HEALTHY"}
        assert "Traceback" not in self.control_plane.stderr


async def connected(port: int) -> trio.SocketStream:
    stream = await trio.open_tcp_stream(HOST, port)
    await stream.send_all(HANDSHAKE)
    assert await stream.receive_some(9)
    return stream


async def until_closed(stream: trio.SocketStream) -> None:
    """Read the rest of what is sent."""
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


def test_crowd_of_connections_costs_little_and_nobody_else(launch: Launcher, crowd: int) -> None:
    watched = Watched(launch)
    # These are plain sockets, as Trio's cost as much time here as the server takes for its own. They answer
    # no PING, which the server sends after a minute: on a slow machine the crowd stops growing before that.
    arrived, deadline_s = 0, time.monotonic() + ARRIVES_WITHIN_S
    with ExitStack() as connections:
        while arrived < crowd and (arrived < SMALL_CROWD or time.monotonic() < deadline_s):
            address = (HOST, watched.control_plane.grpc_port)
            peers = [
                connections.enter_context(socket.create_connection(address, WITHIN_S)) for _ in range(AT_ONCE)
            ]
            for peer in peers:
                peer.sendall(HANDSHAKE)
            for peer in peers:
                assert peer.recv(9)
            arrived += AT_ONCE
        metrics = watched.control_plane.request("GET", "/metrics").body
        (shown,) = re.findall(rb"^minicloud_grpc_connections (\S+)$", metrics, re.MULTILINE)
        assert float(shown) == arrived + 1
        assert watched.grown_bytes < arrived * 60_000
        watched.check()


def test_control_plane_allows_itself_as_many_open_files_as_it_may_have(launch: Launcher) -> None:
    few = ("sh", "-c", 'ulimit -S -n 256 && exec "$0" "$@"')
    control_plane = launch.control_plane(before=few)
    soft, hard = control_plane.inner.rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard > 256


def reset_flood() -> bytes:
    """Begin calls and take them back, over and over ("rapid reset")."""
    block = Encoder().encode(list(REQUEST_HEADERS.items()))
    return b"".join(
        frame_bytes(HEADERS, END_HEADERS, stream_id, block)
        + frame_bytes(RST_STREAM, 0, stream_id, CANCEL.to_bytes(4, "big"))
        for stream_id in range(1, 2 * 3000, 2)
    )


def continuation_flood() -> bytes:
    """Send a header block that does not end."""
    return frame_bytes(HEADERS, 0, 1, b"\x00" * 100) + frame_bytes(CONTINUATION, 0, 1, b"\x00" * 1000) * 5000


def ping_flood() -> bytes:
    return b"".join(frame_bytes(PING, 0, 0, number.to_bytes(8, "big")) for number in range(20_000))


def settings_flood() -> bytes:
    return frame_bytes(SETTINGS, 0, 0) * 20_000


async def test_floods_are_cut_off_and_nobody_else_notices(launch: Launcher) -> None:
    watched = await trio.to_thread.run_sync(Watched, launch)
    port = watched.control_plane.grpc_port
    cut_off: list[str] = []

    async def flood(name: str, frames: bytes) -> None:
        async with await connected(port) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(send_what_is_taken, stream, frames)
            await until_closed(stream)
            cut_off.append(name)
            nursery.cancel_scope.cancel()

    async def drip(port: int, text: bytes) -> None:
        async with await trio.open_tcp_stream(HOST, port) as stream:
            for byte in text:
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.01)
            await trio.sleep_forever()

    floods = {
        "reset": reset_flood(),
        "continuation": continuation_flood(),
        "ping": ping_flood(),
        "settings": settings_flood(),
    }
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as dripping:
            for _ in range(20):
                dripping.start_soon(drip, port, HANDSHAKE)
                dripping.start_soon(drip, watched.control_plane.http_port, b"GET /livez HTTP/1.1\r\nhost: ")
            async with trio.open_nursery() as flooding:
                for name, frames in 5 * list(floods.items()):
                    flooding.start_soon(flood, name, frames)
            await trio.to_thread.run_sync(watched.check)
            dripping.cancel_scope.cancel()
    assert sorted(cut_off) == sorted(5 * list(floods))
    # Twenty were cut off, and a storm of lines about it is held back; h2 has limits of its own besides ours.
    dropped = watched.control_plane.logged("rpc_connection_dropped")
    assert 1 <= len(dropped) <= 2 * STORM_LINES
    reasons = {line["reason"].partition(":")[0] for line in dropped}
    assert "ENHANCE_YOUR_CALM" in reasons
    assert reasons <= {"ENHANCE_YOUR_CALM", "PROTOCOL_ERROR"}
    assert watched.grown_bytes < 100 * MIB


async def send_what_is_taken(stream: trio.SocketStream, frames: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(frames)
