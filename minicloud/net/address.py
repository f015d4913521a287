"""This is the only module that splits or joins a host and a port.

An IPv6 address stands in brackets where a port follows it and without them everywhere else. Nothing here does
I/O; no name is looked up.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from minicloud.core.commands import check_endpoint
from minicloud.core.errors import InvalidError

_NAME = re.compile(r"[\w.-]{1,253}")
_NUMERIC = re.compile(r"[0-9.]+", re.ASCII)

_NOT_A_HOST = "is not a host: give a name or an address without a port, as in 127.0.0.1 or ::1"
_NOT_AN_ADDRESS = "is not host:port: give e.g. 10.0.0.7:9091 or [fd00::7]:9091"


class Address(NamedTuple):
    """An `Address` is a host and a port. `host` is a name or an address without brackets; an IPv6 address
    keeps its zone. `str()` is the form that `parse_address` reads."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Return the form for HTTP's `:authority` and `Host`, in ASCII.

        A zone has a meaning on this machine alone and is left out (RFC 6874, 4). A name in another script is
        encoded by IDNA; raises UnicodeError for one that cannot be.
        """
        host = self.host.partition("%")[0] if ":" in self.host else self.host
        return str(Address(host if host.isascii() else host.encode("idna").decode(), self.port))


def parse_address(text: str) -> Address:
    """Return the host and port in `text`. The port is 1 to 65535.

    Raises ValueError, whose text follows the value in a sentence: "is not host:port: give ...".
    """
    try:
        host, _, port = check_endpoint(text).rpartition(":")
        return Address(parse_host(host), int(port))
    except (InvalidError, ValueError):
        raise ValueError(_NOT_AN_ADDRESS) from None


def parse_host(text: str) -> str:
    """Return `text` without the brackets of an IPv6 address; raises ValueError as `parse_address` does."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    bracketed = host != text
    valid = _is_ipv6(host) if ":" in host else not bracketed and _is_name(host)
    if not valid:
        raise ValueError(_NOT_A_HOST)
    return host


def ip_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return `host` as an address; None for a name. An IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def family_of(host: str) -> socket.AddressFamily | None:
    """Return the address family of `host`; None for a name, which may have addresses of both."""
    address = ip_of(host)
    if address is None:
        return None
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def is_loopback(host: str) -> bool:
    """Return True for an address that only this machine reaches, and for the name localhost."""
    address = ip_of(host)
    if address is not None:
        return address.is_loopback
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761, 6.3


def is_wildcard(host: str) -> bool:
    """Return True for `0.0.0.0` and `::`, which stand for every address of this machine."""
    address = ip_of(host)
    return address is not None and address.is_unspecified


def reached_by(host: str) -> tuple[str, ...]:
    """Return the hosts by which this machine reaches a server that listens on `host`. `::` is for both
    families."""
    if not is_wildcard(host):
        return (host,)
    return ("127.0.0.1",) if family_of(host) is socket.AF_INET else ("::1", "127.0.0.1")


def of_socket(name: Any) -> Address:
    """Return the address that `getsockname` or `getpeername` of an IP socket gave as `name`.

    A socket that serves both families names IPv4 peers by addresses mapped into IPv6; these are turned back.
    """
    host = str(name[0])
    mapped = ip_of(host) if host.startswith("::ffff:") else None
    return Address(host if mapped is None else str(mapped), int(name[1]))


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except OSError:
        return False
    return not percent or _NAME.fullmatch(zone) is not None


def _is_name(text: str) -> bool:
    """Return True for a name in any script that a resolver takes, and for an IPv4 address."""
    if not _NAME.fullmatch(text):
        return False
    try:
        if _NUMERIC.fullmatch(text):
            socket.inet_aton(text)
        else:
            text.encode("idna")
    except (OSError, UnicodeError):
        return False
    return True
