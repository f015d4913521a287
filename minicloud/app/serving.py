"""What both programs need to serve: gRPC's own services beside theirs, and enough open files."""

from __future__ import annotations

import resource
from contextlib import suppress

from minicloud.rpc.health import Health
from minicloud.rpc.reflection import Reflection
from minicloud.rpc.servable import Servable
from minicloud.wire.descriptors import descriptor_pool


def with_standard_services(enable_reflection: bool, *services: Servable) -> tuple[Health, list[Servable]]:
    """The health of `services`, and all to be served: these, health, and reflection if it is enabled."""
    health = Health(services)
    served = [*services, health]
    return health, [*served, Reflection(served, descriptor_pool())] if enable_reflection else served


def raise_open_file_limit() -> None:
    """Allow as many open files, and so connections, as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
