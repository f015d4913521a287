"""The service manager gets the process's reports in time: over real sockets, on a virtual clock
(DESIGN 40)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from minicloud.app.service_manager import STATUS_EVERY_S, ServiceManager
from tests.unit.app.notify_socket import NotifySocket, notify_socket
from tests.unit.logged import logged


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[NotifySocket]:
    with notify_socket(tmp_path) as listening:
        yield listening


def status() -> str:
    return "7 workers registered"


def taken(**env: str) -> ServiceManager:
    return ServiceManager.taken_from(env)


def test_service_manager_is_told_of_readiness_and_of_the_end(listener: NotifySocket) -> None:
    manager = taken(NOTIFY_SOCKET=listener.address)
    manager.ready("3 workers registered")
    manager.stopping()
    assert listener.received() == ["READY=1\nSTATUS=3 workers registered", "STOPPING=1\nSTATUS=stopping"]


def test_service_manager_with_an_abstract_socket_is_told_there() -> None:
    listener = NotifySocket(f"@minicloud-test-{os.getpid()}")
    try:
        taken(NOTIFY_SOCKET=listener.address).ready("up")
        assert listener.received() == ["READY=1\nSTATUS=up"]
    finally:
        listener.close()


def test_environment_keeps_nothing_that_a_child_could_mistake_for_its_own(listener: NotifySocket) -> None:
    env = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1", "PATH": "/bin"}
    ServiceManager.taken_from(env)
    assert env == {"PATH": "/bin"}


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
async def test_service_manager_that_is_none_is_told_nothing(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = taken(WATCHDOG_USEC="2000000", **env)

    def refuse(*_: object) -> None:
        raise AssertionError("no socket is to be opened")

    monkeypatch.setattr(socket, "socket", refuse)
    manager.ready("up")
    manager.stopping()
    await manager.keep_reporting(status)  # it returns, as it has nothing to do


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "ours", 30.0),
        ("30000000", "our parent's", 30.0),  # the executable's bootloader
        ("30000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_watchdog_is_ours_where_it_names_us_or_the_process_that_unpacked_us(
    usec: str, pid: str, seconds: float | None
) -> None:
    pid = {"ours": str(os.getpid()), "our parent's": str(os.getppid())}.get(pid, pid)
    manager = taken(NOTIFY_SOCKET="/run/notify", WATCHDOG_USEC=usec, WATCHDOG_PID=pid)
    assert manager.watchdog_s == seconds


async def test_watchdog_is_given_two_signs_of_life_in_its_time(
    listener: NotifySocket, autojump_clock: MockClock
) -> None:
    manager = taken(NOTIFY_SOCKET=listener.address, WATCHDOG_USEC="30000000")
    with trio.move_on_after(100):
        await manager.keep_reporting(status)
    assert listener.received() == ["WATCHDOG=1\nSTATUS=7 workers registered"] * 7  # at 0, 15, .. 90 s


async def test_status_line_is_renewed_without_a_watchdog_too(
    listener: NotifySocket, autojump_clock: MockClock
) -> None:
    manager = taken(NOTIFY_SOCKET=listener.address)
    with trio.move_on_after(STATUS_EVERY_S * 1.5):
        await manager.keep_reporting(status)
    assert listener.received() == ["STATUS=7 workers registered"] * 2


def test_service_manager_that_does_not_listen_is_complained_of_once(tmp_path: Path) -> None:
    manager = taken(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    with logged() as said:
        manager.ready("up")
        manager.stopping()
    assert [line["event"] for line in said] == ["service_manager_unreachable"]
    with notify_socket(tmp_path) as listener:
        os.rename(listener.address, tmp_path / "nobody")
        manager.stopping()
        assert listener.received() == ["STOPPING=1\nSTATUS=stopping"]


def test_service_manager_whose_queue_is_full_holds_nobody_up(listener: NotifySocket) -> None:
    manager = taken(NOTIFY_SOCKET=listener.address)
    with logged() as said:
        for _ in range(10_000):
            manager.stopping()
    assert 0 < len(listener.received()) < 10_000
    assert len(said) == 1
