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


# 30 KB each, so 2 GB at most, however many files there may be.
MOST_CONNECTIONS = 65_536
# Files that are no gRPC connections: HTTP's 1,000, the registry, listeners, the log.
OTHER_FILES = 1_100


def raise_open_file_limit() -> int:
    """Allow as many open files, and so connections, as this process may have; answers with how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def connection_limit(files: int) -> int:
    """How many gRPC connections to take where `files` files may be open.

    Fewer than there are files for: a server out of files accepts nobody, operators included, and cannot even
    say no.
    """
    return min(MOST_CONNECTIONS, max(files // 2, files - OTHER_FILES))
