"""The one error tree. Mapped once to gRPC statuses (`control/service.py`) and once to problem details
(`control/rest/problems.py`)."""

from __future__ import annotations


class MiniCloudError(Exception):
    """Any failure MiniCloud names. Its text is one line for a user: what is wrong, what would be right."""


class InvalidError(MiniCloudError):
    """The request itself is wrong; sending it again unchanged fails again."""


class UnknownWorkerError(MiniCloudError):
    """No worker is registered under that id."""


class FencedError(MiniCloudError):
    """The caller speaks for an older incarnation of a worker id that has been registered again since."""


class DisplacedError(FencedError):
    """The caller speaks for the installation that the worker id was last taken from."""

    def __init__(self, text: str, worker_id: str) -> None:
        super().__init__(text)
        self.worker_id = worker_id


class LimitError(MiniCloudError):
    """A limit of the control plane is reached: the request is right and cannot be granted now."""


class StoreError(MiniCloudError):
    """The durable registry cannot be used until somebody mends it; at the start the program exits with 2."""


class StoreUnavailableError(StoreError):
    """The durable registry cannot be used at present (a full disk, a hanging one): trying again later may
    succeed. At the start the program exits with 1, on which service managers start it again."""


class LeadershipLostError(StoreUnavailableError):
    """Another control plane writes to the registry from now on. The program exits with 1, on which service
    managers start it again."""


class StoreInUseError(StoreUnavailableError):
    """Another process has the durable registry open."""


class StoreWriteError(StoreUnavailableError):
    """A write to the durable registry failed, or the process ends without one that is due."""


class ConfigError(MiniCloudError):
    """The configuration, or what it names (port, folder, file), cannot be used until somebody mends it; the
    program exits with 2, after which service managers leave it alone."""


class NotYetError(MiniCloudError):
    """A thing that the program needs to start is not there yet, or is held by another (an address, a port, a
    name, room on a disk); the program exits with 1, on which service managers start it again."""


class RegistrationFailedError(MiniCloudError):
    """A worker's registration failed as often in a row as was allowed; the program exits with 3."""
