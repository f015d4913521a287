"""This module has every error that MiniCloud names, in one tree.

One place translates them into gRPC statuses (`control/service.py`) and one into problem details
(`control/rest/problems.py`).
"""

from __future__ import annotations


class MiniCloudError(Exception):
    """This is the base of all errors. Its text is one line for a user: what is wrong, what would be right."""


class InvalidError(MiniCloudError):
    """The request itself is wrong; sending it again unchanged fails again."""


class UnknownWorkerError(MiniCloudError):
    """No worker is registered under that id."""


class FencedError(MiniCloudError):
    """The message is of an older incarnation of a worker id that has been registered again since."""


class DisplacedError(FencedError):
    """The message is of the installation that held the worker id until another one took it."""

    def __init__(self, text: str, worker_id: str) -> None:
        super().__init__(text)
        self.worker_id = worker_id


class LimitError(MiniCloudError):
    """A limit of the control plane is reached: the request is valid and cannot be granted now."""


class StoreError(MiniCloudError):
    """The durable registry cannot be used until it is repaired. At the start the program exits with 2."""


class StoreUnavailableError(StoreError):
    """The durable registry cannot be used at present (a full disk, a hanging one); a later try may succeed.

    At the start the program exits with 1, on which service managers start it again.
    """


class LeadershipLostError(StoreUnavailableError):
    """Another control plane writes to the registry from now on (DESIGN 84).

    The program exits with 1, on which service managers start it again.
    """


class StoreInUseError(StoreUnavailableError):
    """Another process has the durable registry open."""


class StoreWriteError(StoreUnavailableError):
    """A write to the durable registry failed, or the process ends while changes are not written."""


class ConfigError(MiniCloudError):
    """The configuration, or a port, folder or file that it names, cannot be used until it is corrected.

    The program exits with 2, after which service managers do not start it again.
    """


class NotYetError(MiniCloudError):
    """An address, a port, a name or disk space that the program needs to start is missing or in use.

    The program exits with 1, on which service managers start it again.
    """


class RegistrationFailedError(MiniCloudError):
    """A worker's registration failed as many times in a row as is allowed. The program exits with 3."""
