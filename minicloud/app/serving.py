"""What both programs need to serve: gRPC's own services beside theirs, and enough open files."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from minicloud.rpc.health import Health
from minicloud.rpc.reflection import Reflection
from minicloud.rpc.servable import Servable
from minicloud.wire.descriptors import descriptor_pool

# Of one request, as sent and as inflated: a worker's largest, a registration with all the metadata it may
# have, takes a third of it. One of 4 MB with 470,000 entries would stop the loop for half a second.
MAX_REQUEST_BYTES = 64 * 1024


def with_standard_services(enable_reflection: bool, *services: Servable) -> tuple[Health, list[Servable]]:
    """The health of `services`, and all to be served: these, health, and reflection if it is enabled."""
    health = Health(services)
    served = [*services, health]
    return health, [*served, Reflection(served, descriptor_pool())] if enable_reflection else served


# 30 KB each, so 2 GB at most, however many files there may be.
MOST_GRPC_CONNECTIONS = 65_536
MOST_HTTP_CONNECTIONS = 964
# Files that are no connections: the registry and what SQLite has beside it, copies of it on their way to
# clients, listeners, the log, and connections that are on their way out.
OTHER_FILES = 136


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections of each kind a control plane takes."""

    grpc: int
    http: int


def raise_open_file_limit() -> int:
    """Allow as many open files, and so connections, as this process may have; answers with how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def connection_limits(files: int) -> ConnectionLimits:
    """How many connections to take where `files` files may be open.

    All of them and all other files are fewer than `files`: a server out of files accepts nobody, operators
    included, and cannot even refuse. Where there are few files, HTTP gets a quarter of those for connections.
    """
    for_connections = files - min(OTHER_FILES, files // 3)
    http = min(MOST_HTTP_CONNECTIONS, for_connections // 4)
    return ConnectionLimits(min(MOST_GRPC_CONNECTIONS, for_connections - http), http)
