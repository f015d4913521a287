"""The services that a server can serve, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from grpclib.const import Handler


class Servable(Protocol):
    """Handlers by path, /package.Service/Method: a generated service base with its methods filled in."""

    def __mapping__(self) -> Mapping[str, Handler]:
        """The handler of each path."""


def service_names(services: Iterable[Servable]) -> list[str]:
    """The names of all `services` with their packages, sorted and each once."""
    return sorted({path.split("/")[1] for service in services for path in service.__mapping__()})
