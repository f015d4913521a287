"""What the service manager is told: ready, stopping, still at work. The protocol is systemd's sd_notify(3):
a datagram to the socket that NOTIFY_SOCKET names.

Always holds: telling waits for nothing and never fails; where nobody asked to be told, nothing is sent; the
variables are this process's alone, and taken out of the environment before anything could inherit them.

Rejected: sdnotify (no release since 2017), systemd-python and cysystemd (compiled, the first against
libsystemd, for what is one `sendto`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping

import structlog
import trio

# How often the status line is renewed where no watchdog sets the pace.
STATUS_EVERY_S = 30.0

log = structlog.get_logger()


class ServiceManager:
    """Who started this process and wants to hear of it.

    `address` is a path, or a name in the abstract name space after an @; None is nobody. `watchdog_s` is the
    silence after which it kills us; None is never.
    """

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        self._address = address
        self._reached = True
        self.watchdog_s = watchdog_s if address is not None else None

    @staticmethod
    def taken_from(env: MutableMapping[str, str]) -> ServiceManager:
        """The one `env` speaks of. Its variables are taken out of `env`."""
        address = env.pop("NOTIFY_SOCKET", "")
        usec, pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        # The executable unpacks itself in a process that systemd knows, and works in a child of that one.
        ours = pid in ("", str(os.getpid()), str(os.getppid()))
        watched = ours and usec.isascii() and usec.isdecimal() and int(usec) > 0
        return ServiceManager(
            address if address.startswith(("/", "@")) else None, int(usec) / 1e6 if watched else None
        )

    def ready(self, status: str) -> None:
        """Say that everything is served, with a status line for people."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", "STATUS=stopping")

    async def keep_told(self, status: Callable[[], str]) -> None:
        """Renew the status line, and send a sign of life twice in each time the watchdog allows.

        The sign is sent by the loop: one that stands still sends none. A control plane whose disk is full or
        hangs still sends it, as heartbeats go on in memory and a new process would find the same disk.
        Returns at once where nobody asked; else runs until cancelled.
        """
        if self._address is None:
            return
        pause_s = self.watchdog_s / 2 if self.watchdog_s is not None else STATUS_EVERY_S
        while True:
            sign = ("WATCHDOG=1",) if self.watchdog_s is not None else ()
            self._tell(*sign, f"STATUS={status()}")
            await trio.sleep(pause_s)

    def _tell(self, *assignments: str) -> None:
        if self._address is None:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(assignments).encode(), name)
        except OSError as error:
            # Said once: what is lost is lost, and the next message may get through.
            if self._reached:
                log.warning("service_manager_unreachable", socket=self._address, error=str(error))
            self._reached = False
        else:
            self._reached = True
