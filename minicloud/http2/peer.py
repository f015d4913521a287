"""The two ends of a connected stream: their addresses, and the peer's certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import trio

from minicloud.net.address import Address, of_socket


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection."""

    address: tuple[str, int] | None
    certificate: dict[str, object] | None = None

    def addr(self) -> tuple[str, int] | None:
        """Host and port; None for what has none, such as a stream in memory."""
        return self.address

    def cert(self) -> dict[str, object] | None:
        """The peer's certificate in the form of `ssl.SSLSocket.getpeercert()`; None without one."""
        return self.certificate

    def __str__(self) -> str:
        return str(Address(*self.address)) if self.address else "memory"


def peer_of(stream: trio.abc.Stream) -> Peer:
    """The peer of a connected `stream`, TLS or not."""
    certificate = stream.getpeercert() or None if isinstance(stream, trio.SSLStream) else None
    return Peer(_address(stream, "getpeername"), certificate)


def local_of(stream: trio.abc.Stream) -> Address | None:
    """This end's address of a connected `stream`, TLS or not; None for one that has none."""
    return _address(stream, "getsockname")


def _address(stream: trio.abc.Stream, end: Literal["getpeername", "getsockname"]) -> Address | None:
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return None
    try:
        name = getattr(stream.socket, end)()
    except OSError:  # closed already
        return None
    return of_socket(name) if isinstance(name, tuple) else None
