"""Both programs serve with this module: it adds gRPC's own services to theirs, and raises the limit of open
files."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

from minicloud.rpc.health import Health
from minicloud.rpc.reflection import Reflection
from minicloud.rpc.servable import Servable
from minicloud.wire.descriptors import descriptor_pool

# The limit of one request, as sent and as inflated. The largest request of a worker, a registration with all
# the metadata it may have, takes a third of it. A request of 4 MB with 470,000 entries would stop the loop
# for half a second.
MAX_REQUEST_BYTES = 64 * 1024


def with_standard_services(enable_reflection: bool, *services: Servable) -> tuple[Health, list[Servable]]:
    """Return the health of `services`, and the services to serve: these, health, and reflection if it is
    enabled."""
    health = Health(services)
    served = [*services, health]
    return health, [*served, Reflection(served, descriptor_pool())] if enable_reflection else served


# Connections take 30 KB each, so this is 2 GB, however many files may be open.
MOST_GRPC_CONNECTIONS = 65_536
MOST_HTTP_CONNECTIONS = 964
# The files that are not connections: the registry and SQLite's files beside it, copies of it on their way to
# clients, listeners, the log, and connections that are being closed.
OTHER_FILES = 136


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`ConnectionLimits` has the number of connections of each kind that a control plane takes."""

    grpc: int
    http: int


def raise_open_file_limit() -> int:
    """Raise the limit of open files, and so of connections, as far as this process may. Returns the new
    limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def connection_limits(files: int) -> ConnectionLimits:
    """Return how many connections to take where `files` files may be open (DESIGN 45).

    All connections and all other files together are fewer than `files`. Where there are few files, HTTP gets
    a quarter of those for connections.
    """
    for_connections = files - min(OTHER_FILES, files // 3)
    http = min(MOST_HTTP_CONNECTIONS, for_connections // 4)
    return ConnectionLimits(min(MOST_GRPC_CONNECTIONS, for_connections - http), http)
