"""A cluster on loopback gets the wanted ports, or free ones in place of those that are taken.

Another program may take a port between the look and the listening; the process for that port then reports it
and ends.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

HOST = "127.0.0.1"


class Ports(NamedTuple):
    """`Ports` has the ports of the processes of one cluster; a wanted port of 0 is any free one."""

    grpc: int
    http: int
    workers: tuple[int, ...]


def choose_ports(wanted: Ports) -> tuple[Ports, list[str]]:
    """Return `wanted` with free ports in place of taken ones, and a notice for each replacement."""
    notices: list[str] = []
    taken: set[int] = set()

    def choose(port: int, whose: str) -> int:
        chosen = port if port and port not in taken and _is_free(port) else _free_port(taken)
        taken.add(chosen)
        if port and chosen != port:
            notices.append(f"port {port} is taken: {whose} has {chosen}")
        return chosen

    grpc, http = choose(wanted.grpc, "gRPC"), choose(wanted.http, "REST")
    workers = tuple(choose(port, f"worker-{number}") for number, port in enumerate(wanted.workers, start=1))
    return Ports(grpc, http, workers), notices


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the same option as our servers have
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def _free_port(taken: set[int]) -> int:
    while True:
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            port = int(listener.getsockname()[1])
        if port not in taken:
            return port
