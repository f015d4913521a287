"""This module finds out what this machine's network can do, for tests that need more than IPv4 on
loopback."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="needs IPv6 on loopback")


class Names(trio.abc.HostnameResolver):
    """A `Names` resolves names to addresses for `trio.socket.set_custom_hostname_resolver`; other names are
    unknown."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        addresses = self.names.get(host.decode() if isinstance(host, bytes) else host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = []
        for address in addresses:
            v6 = ":" in address
            name = (address, port, 0, 0) if v6 else (address, port)
            found.append((socket.AF_INET6 if v6 else socket.AF_INET, type, proto, "", name))
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError
