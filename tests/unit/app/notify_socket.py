"""This module has a service manager's end of the notification socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NotifySocket:
    """A `NotifySocket` collects the messages sent to `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def received(self) -> list[str]:
        """Return the messages that came since the last call, oldest first."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@contextmanager
def notify_socket(folder: Path) -> Iterator[NotifySocket]:
    """Return one under a path in `folder`."""
    listener = NotifySocket(str(folder / "notify"))
    try:
        yield listener
    finally:
        listener.close()
