"""The address of a real control plane, and the checks that it may be one and that this machine allows the
connections.

A refusal is one line, before anything is started.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import Any

from minicloud.config import values
from minicloud.core.errors import MiniCloudError
from minicloud.net.address import is_loopback

# Besides one a worker: standard streams, Trio's own, the operator's connection, files that are written.
_OTHER_FILES = 64


class RealModeError(MiniCloudError):
    """A run against a real control plane that cannot be started."""


@dataclass(frozen=True, slots=True)
class Target:
    """A control plane. `address` is the one that was given; `host` is numeric, `port` its gRPC port."""

    address: str
    host: str
    port: int


def find_target(text: str, *, allow_remote: bool) -> Target:
    """The target that `text` (HOST:PORT) names.

    Raises `RealModeError` if it names none, is not known, or is another machine and `allow_remote` is false.
    """
    try:
        endpoints = values.endpoints(text)
    except ValueError:
        endpoints = ()
    if len(endpoints) != 1:
        raise RealModeError(
            f"--target {text!r} is not HOST:PORT: give one gRPC address, as in 127.0.0.1:9090"
        )
    ((host, port),) = endpoints
    try:
        numeric = _addresses(host, port)
    except OSError as error:
        raise RealModeError(f"--target {text}: {host!r} is not known ({error.strerror})") from None
    if not allow_remote and not all(map(is_loopback, numeric)):
        raise RealModeError(
            f"--target {text} is not this machine ({', '.join(dict.fromkeys(numeric))}): "
            "add --allow-remote if the load is welcome there"
        )
    return Target(text, _listening(numeric, port, text), port)


def _addresses(host: str, port: int) -> list[str]:
    """The numeric addresses of `host`. Raises `OSError` where it has none."""
    found: list[Any] = []
    problems: list[OSError] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            problems.append(error)

    # A name server that does not answer takes half a minute, and no signal handler runs during the look-up.
    thread = Thread(target=look_up, daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return [str(address[0]) for *_, address in found]


def _listening(hosts: list[str], port: int, text: str) -> str:
    """The first of `hosts` that accepts a connection."""
    problem = ""
    for host in hosts:
        try:
            socket.create_connection((host, port), timeout=5.0).close()
        except OSError as error:
            problem = problem or error.strerror or str(error)
        else:
            return host
    raise RealModeError(
        f"--target {text}: nothing answers there ({problem}): start a control plane with 'minicloud', or "
        "name the gRPC port of one that runs"
    )


def allow_open_files(
    workers: int,
    get: Callable[[int], tuple[int, int]] = resource.getrlimit,
    set: Callable[[int, tuple[int, int]], None] = resource.setrlimit,
) -> None:
    """Raise the limit of open files to the need of so many connections.

    Raises `RealModeError`, with a remedy, if this process may not.
    """
    needed = workers + _OTHER_FILES
    soft, hard = get(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RealModeError(
            f"{workers} workers need {needed} open files and this process may have {hard}: "
            f"run 'ulimit -n {needed}' first (as root, or raise nofile in /etc/security/limits.conf), "
            f"or use --workers {max(1, hard - _OTHER_FILES)}"
        )
    try:
        set(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError) as error:
        raise RealModeError(f"cannot allow {needed} open files ({error}): run 'ulimit -n {needed}'") from None
