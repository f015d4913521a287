"""A process takes the ports it serves on before it starts anything, so that a port in use is reported at
once.

All addresses of a process have one port. `::` stands for every address of both families, by two sockets
(DESIGN 56).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import NamedTuple

import structlog
import trio

from minicloud.core.errors import ConfigError, NotYetError
from minicloud.net.address import family_of, is_wildcard, of_socket
from minicloud.starting import start_error

# A port chosen for the first address may be taken on another; after so many tries the machine has none to
# give.
_MOST_CHOICES = 20

# These errors mean that the system lacks the family or the address: another address of the same name will do.
_MISSING = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPFNOSUPPORT, errno.EPROTONOSUPPORT})

log = structlog.get_logger()


class _Host(NamedTuple):
    """A `_Host` is a host from the settings with the addresses it stands for; one of them has to be bound."""

    name: str
    addresses: Sequence[str]


class _BindError(Exception):
    """No socket can listen on one of the hosts."""

    def __init__(self, host: str, error: OSError) -> None:
        super().__init__(host)
        self.host = host
        self.error = error


async def bind_tcp(hosts: Sequence[str], port: int, protocol: str, flag: str) -> list[trio.SocketListener]:
    """Return listeners on every address of `hosts`. With port 0 the system chooses one, the same for all.

    An address of a name that this machine does not have is passed over, with a log line, where another
    address of that name can be bound. Raises `ConfigError`, or `NotYetError` where a retry may succeed. The
    message names `protocol`, port and remedy: `flag` sets the port. The caller closes the listeners, or gives
    them to a server, which does.
    """
    found = [_Host(host, await _addresses_of(host, port)) for host in dict.fromkeys(hosts)]
    for choice in range(1, _MOST_CHOICES + 1):
        try:
            return await _bind_all(found, port)
        except _BindError as failure:
            another = port == 0 and failure.error.errno == errno.EADDRINUSE and choice < _MOST_CHOICES
            if not another:
                raise _refusal(failure, port, protocol, flag) from failure.error
    raise AssertionError("the last choice returns or raises")


async def _addresses_of(host: str, port: int) -> Sequence[str]:
    if is_wildcard(host):
        return ("0.0.0.0",) if family_of(host) is socket.AF_INET else ("::", "0.0.0.0")
    if family_of(host) is not None:
        return (host,)
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        text = f"host {host!r} is not known ({getattr(error, 'strerror', None) or error})"
        raise NotYetError(f"{text}: give a name or an address of this machine with --host") from error
    return tuple(dict.fromkeys(str(name[0]) for *_, name in found))


async def _bind_all(hosts: Sequence[_Host], port: int) -> list[trio.SocketListener]:
    listeners: dict[str, trio.SocketListener] = {}
    try:
        for host in hosts:
            await _bind_host(host, port, listeners)
    except BaseException:
        for listener in listeners.values():
            listener.socket.close()
        raise
    return list(listeners.values())


async def _bind_host(host: _Host, port: int, listeners: dict[str, trio.SocketListener]) -> None:
    """Add the addresses that `host` stands for and that are missing to `listeners`, which are by address."""
    missing: list[tuple[str, OSError]] = []
    for address in host.addresses:
        if address in listeners or _wildcard_of(address) in listeners:
            continue
        if port == 0 and listeners:
            port = _port_of(next(iter(listeners.values())))
        try:
            (listeners[address],) = await trio.open_tcp_listeners(port, host=address)
        except OSError as error:
            if error.errno not in _MISSING:
                raise _BindError(host.name, error) from error
            missing.append((address, error))
    if len(missing) == len(host.addresses):
        raise _BindError(host.name, missing[0][1])
    for address, problem in missing:
        log.info("address_passed_over", host=host.name, address=address, error=str(problem))


def _port_of(listener: trio.SocketListener) -> int:
    return of_socket(listener.socket.getsockname()).port


def _wildcard_of(address: str) -> str:
    return "0.0.0.0" if family_of(address) is socket.AF_INET else "::"


def _refusal(failure: _BindError, port: int, protocol: str, flag: str) -> ConfigError | NotYetError:
    error = failure.error
    where = f"{protocol} port {port} on {failure.host}"
    lasting: frozenset[int] = frozenset()
    match error.errno:
        case errno.EADDRINUSE:
            text = f"{where} is in use: stop the program that has it, or choose another with {flag}"
        case errno.EACCES:
            text = f"{where} is not permitted: choose one from 1024 on with {flag}"
        case errno.EADDRNOTAVAIL:
            text = f"{where}: that is no address of this machine yet: give one that is with --host"
        case errno.EAFNOSUPPORT | errno.EPFNOSUPPORT | errno.EPROTONOSUPPORT:
            text = f"{where}: this system has no such kind of address: give another with --host"
            lasting = frozenset({errno.EAFNOSUPPORT, errno.EPFNOSUPPORT, errno.EPROTONOSUPPORT})
        case _:
            text = f"{where} cannot be used ({error.strerror}): choose another with {flag} or --host"
    return start_error(text, error, lasting=lasting)
