"""This module reports the state of the process to the service manager: ready, stopping, still at work (DESIGN
40).

The protocol is systemd's sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names.

Always holds: a report waits for nothing and never fails; where no service manager asked for reports, none is
sent; the variables are taken out of the environment, so that no child inherits them. The tests
`tests/unit/app/test_service_manager.py` keep these.

Rejected: sdnotify (no release since 2017), systemd-python and cysystemd (compiled, the first against
libsystemd, for one `sendto`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping

import structlog
import trio

# The status line is renewed this often where no watchdog sets the pace.
STATUS_EVERY_S = 30.0

log = structlog.get_logger()


class ServiceManager:
    """A `ServiceManager` stands for the program that started this process and wants reports of its state.

    `address` is the path of a socket, or a name in the abstract name space after an @; with None no report is
    sent. `watchdog_s` is the silence after which the service manager kills this process; None is never.
    """

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        self._address = address
        self._reached = True
        self.watchdog_s = watchdog_s if address is not None else None

    @staticmethod
    def taken_from(env: MutableMapping[str, str]) -> ServiceManager:
        """Return the service manager that `env` describes, and take its variables out of `env`."""
        address = env.pop("NOTIFY_SOCKET", "")
        usec, pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        # systemd sees the process in which the executable unpacks itself; this process is a child of that
        # one.
        ours = pid in ("", str(os.getpid()), str(os.getppid()))
        watched = ours and usec.isascii() and usec.isdecimal() and int(usec) > 0
        return ServiceManager(
            address if address.startswith(("/", "@")) else None, int(usec) / 1e6 if watched else None
        )

    def ready(self, status: str) -> None:
        """Report that everything is served, with a status line for people."""
        self._report("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Report that the end has begun."""
        self._report("STOPPING=1", "STATUS=stopping")

    async def keep_reporting(self, status: Callable[[], str]) -> None:
        """Renew the status line, and send a sign of life twice in each time the watchdog allows (DESIGN 40).

        Returns at once where no service manager asked for reports; otherwise it runs until cancelled.
        """
        if self._address is None:
            return
        pause_s = self.watchdog_s / 2 if self.watchdog_s is not None else STATUS_EVERY_S
        while True:
            sign = ("WATCHDOG=1",) if self.watchdog_s is not None else ()
            self._report(*sign, f"STATUS={status()}")
            await trio.sleep(pause_s)

    def _report(self, *assignments: str) -> None:
        if self._address is None:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(assignments).encode(), name)
        except OSError as error:
            # One line is enough: a lost report is not sent again, and the next one may get through.
            if self._reached:
                log.warning("service_manager_unreachable", socket=self._address, error=str(error))
            self._reached = False
        else:
            self._reached = True
