"""`POST /api/registry/backup` sends a copy as it is read, and has a limit of copies at a time (DESIGN 42)."""

from __future__ import annotations

import gc
import os
import socket
import struct
from pathlib import Path
from typing import BinaryIO

import pytest
import trio

from minicloud.control.rest.backup import MAX_BACKUPS
from minicloud.core.errors import StoreError
from tests.unit.control.rest.kit import HttpClient, Rest, problem_of, until

PATH = "/api/registry/backup"
# This is more than sockets on loopback take in without a reader.
LARGE_BYTES = 32 * 1024 * 1024


class Copies:
    """A `Copies` makes copies of `size_bytes` bytes, and remembers them."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._path = folder / "copy"
        self._path.write_bytes(os.urandom(1024) * (size_bytes // 1024))
        self.made: list[BinaryIO] = []
        self.error: StoreError | None = None

    @property
    def content(self) -> bytes:
        return self._path.read_bytes()

    async def __call__(self) -> BinaryIO:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.made.append(self._path.open("rb"))
        return self.made[-1]

    @property
    def open(self) -> int:
        return sum(not copy.closed for copy in self.made)


@pytest.fixture
def small(tmp_path: Path) -> Copies:
    return Copies(tmp_path, 300 * 1024)


@pytest.fixture
def large(tmp_path: Path) -> Copies:
    return Copies(tmp_path, LARGE_BYTES)


async def test_backup_is_sent_whole_with_its_length_and_closed(small: Copies) -> None:
    async with Rest(copies=small).served() as port, HttpClient.connected(port) as client:
        answer = await client.request("POST", PATH)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/vnd.sqlite3"
        assert answer.headers["content-length"] == str(300 * 1024)
        assert "minicloud-registry.db" in answer.headers["content-disposition"]
        assert bytes(answer.body) == small.content
        await until(lambda: small.open == 0)


async def test_backup_of_a_registry_in_memory_is_a_conflict() -> None:
    problem = await problem_of(await Rest().client.post(PATH), 409)
    assert problem["detail"] == (
        "this control plane keeps its registry in memory (--data-dir none): nothing to copy"
    )


async def test_backup_that_cannot_be_made_says_why_and_takes_no_place(small: Copies) -> None:
    rest = Rest(copies=small)
    small.error = StoreError("cannot copy the registry to /data/registry.db.copy: No space left on device")
    for _ in range(MAX_BACKUPS + 1):
        problem = await problem_of(await rest.client.post(PATH), 503)
        assert problem["detail"] == str(small.error)
    small.error = None
    assert (await rest.client.post(PATH)).status_code == 200


async def test_backup_for_a_page_of_another_site_is_forbidden(small: Copies) -> None:
    headers = {"Origin": "http://elsewhere.example"}
    await problem_of(await Rest(copies=small).client.post(PATH, headers=headers), 403)
    assert small.made == []


async def test_backup_is_not_to_be_had_by_get(small: Copies) -> None:
    problem = await problem_of(await Rest(copies=small).client.get(PATH), 405)
    assert "use OPTIONS, POST" in problem["detail"]


async def test_backups_for_clients_that_do_not_read_are_limited_and_freed_when_they_leave(
    large: Copies,
) -> None:
    rest = Rest(copies=large)
    async with rest.served() as port:
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(MAX_BACKUPS)]
        for stream in streams:
            await HttpClient(stream).send("POST", PATH)
        await until(lambda: large.open == MAX_BACKUPS)
        async with HttpClient.connected(port) as client:
            refused = await client.request("POST", PATH)
            assert refused.status == 503
            assert b"copies of the registry are being sent already" in refused.body
            for stream in streams:
                await stream.aclose()
            await until(lambda: large.open == 0)
            answer = await client.request("POST", PATH)
            assert answer.status == 200
            assert len(answer.body) == LARGE_BYTES


async def test_backup_for_a_client_that_left_before_it_was_made_is_closed(
    small: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go_on = trio.Event(), trio.Event()

    async def slowly() -> BinaryIO:
        copy = await small()
        made.set()
        with trio.CancelScope(shield=True):
            await go_on.wait()
        return copy

    async with Rest(copies=slowly).served() as port:
        for _ in range(MAX_BACKUPS + 1):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await HttpClient(stream).send("POST", PATH)
            await made.wait()
            await stream.aclose()
            go_on.set()
        await until(lambda: small.open == 0)
        async with HttpClient.connected(port) as client:
            assert (await client.request("POST", PATH)).status == 200


@pytest.mark.parametrize("reads", [True, False])
async def test_backups_of_clients_that_reset_are_closed_without_the_collector(
    large: Copies, reads: bool
) -> None:
    rest = Rest(copies=large)
    gc.collect()
    gc.disable()
    try:
        async with rest.served() as port:
            for _ in range(2 * MAX_BACKUPS):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await HttpClient(stream).send("POST", PATH)
                    if reads:
                        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await until(lambda: large.open == 0 and rest.seats.open == 0)
            async with HttpClient.connected(port) as client:
                assert (await client.request("POST", PATH)).status == 200
    finally:
        gc.enable()


async def test_server_that_is_to_stop_waits_for_no_disk_that_hangs(tmp_path: Path) -> None:
    # A pipe without a writer stands in for the file on such a disk.
    reads, writes = os.pipe()
    copy = os.fdopen(reads, "rb")

    async def copies() -> BinaryIO:
        await trio.lowlevel.checkpoint()
        return copy

    rest = Rest(copies=copies)
    with trio.fail_after(20):
        async with rest.served(grace_s=0.1) as port:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await HttpClient(stream).send("POST", PATH)
            assert await stream.receive_some()  # the head of an answer, before its body
        await stream.aclose()
        assert not copy.closed
        os.close(writes)
        await until(lambda: copy.closed)
