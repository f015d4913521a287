"""The ports a process serves on: taken before anything is started, so that one in use is told at once."""

from __future__ import annotations

import errno
import socket

import trio

from minicloud.core.errors import ConfigError


async def bind_tcp(host: str, port: int, protocol: str, flag: str) -> list[trio.SocketListener]:
    """Listeners on every address of `host` (empty: all of the machine's); port 0 has the system choose one.

    Raises `ConfigError` where that cannot be, naming `protocol`, port and remedy: `flag` sets the port. The
    caller closes them, or gives them to a server, which does.
    """
    try:
        if port != 0:
            return list(await trio.open_tcp_listeners(port, host=host or None))
        # Each address would be given a port of its own.
        listeners = list(await trio.open_tcp_listeners(0, host=host or None))
        for surplus in listeners[1:]:
            await surplus.aclose()
        return listeners[:1]
    except OSError as error:
        raise ConfigError(_bind_failure(host, port, protocol, flag, error)) from error


def _bind_failure(host: str, port: int, protocol: str, flag: str, error: OSError) -> str:
    where = f"{protocol} port {port} on {host or 'every address'}"
    if isinstance(error, socket.gaierror):
        return f"host {host!r} is not known ({error.strerror}): give an address of this machine with --host"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is in use: stop the program that has it, or choose another with {flag}"
        case errno.EACCES:
            return f"{where} is not permitted: choose one from 1024 on with {flag}"
        case errno.EADDRNOTAVAIL:
            return f"{where}: that is no address of this machine: give one with --host"
        case _:
            return f"{where} cannot be used ({error.strerror}): choose another with {flag} or --host"
