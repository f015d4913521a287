"""Commands are the requests to the registry.

Each one checks its fields when it is made, which bounds the registry to about 8 KiB a worker (DESIGN 16).
`Registry.decide` grants or refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from minicloud.core.errors import InvalidError
from minicloud.core.model import Resources, WorkerId

MAX_ID_CHARS = 128
MAX_ENDPOINT_CHARS = 261  # a DNS name's 255, a colon and five digits
MAX_METADATA_ENTRIES = 64
MAX_METADATA_BYTES = 4 * 1024
MAX_REASON_CHARS = 256

# The first two are REST paths beside /api/workers/{id}; clients and proxies remove the others from any path
# (RFC 3986, 5.2.4). No URL could address a worker with such an id (DESIGN 23).
RESERVED_IDS = frozenset({"stats", "healthy", ".", ".."})

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# The host is a name of letters of any script (resolvers take those), an IPv4 address, or an IPv6 address in
# brackets, with its zone if it has one. The host need not exist.
_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+):([0-9]{1,5})")


def check_worker_id(worker_id: str) -> WorkerId:
    """Return `worker_id` as a `WorkerId`. Raises `InvalidError` if it is malformed or reserved."""
    if not _ID.fullmatch(worker_id):
        raise InvalidError(
            f"worker_id {_shown(worker_id)} is not valid: "
            f"use 1 to {MAX_ID_CHARS} of the characters A-Z a-z 0-9 . _ -"
        )
    if worker_id in RESERVED_IDS:
        raise InvalidError(f"worker_id {worker_id!r} is reserved: choose another")
    return WorkerId(worker_id)


def check_endpoint(endpoint: str) -> str:
    """Return `endpoint` unchanged. Raises `InvalidError` unless it is host:port ([address]:port for IPv6)."""
    if not endpoint:
        raise InvalidError("endpoint is missing: give the host:port at which the worker can be reached")
    found = _ENDPOINT.fullmatch(endpoint) if len(endpoint) <= MAX_ENDPOINT_CHARS else None
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise InvalidError(
            f"endpoint {_shown(endpoint)} is not valid: give host:port, as in 10.0.0.7:9091 or [fd00::7]:9091"
        )
    return endpoint


def trimmed_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of `metadata` that fit into a registration: the zone first, then the others in the
    order of their keys. Old workers that send more are not refused (DESIGN 65)."""
    kept: dict[str, str] = {}
    left_bytes = MAX_METADATA_BYTES
    for key in sorted(metadata, key=lambda key: (key != "zone", key)):
        size_bytes = _size_bytes(key, metadata[key])
        if size_bytes <= left_bytes and len(kept) < MAX_METADATA_ENTRIES:
            kept[key] = metadata[key]
            left_bytes -= size_bytes
    return kept


def _size_bytes(key: str, value: str) -> int:
    return len(key.encode()) + len(value.encode())


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:61] + "...")


@dataclass(frozen=True, slots=True)
class Register:
    """A `Register` asks to register a worker. If `worker_id` is empty, the worker gets `generated_id`.

    `instance_id` is the installation's lasting identity, empty from clients that have none. Raises
    `InvalidError` for a field that is malformed or over its limit.
    """

    endpoint: str
    generated_id: WorkerId
    worker_id: str = ""
    instance_id: str = ""
    resources: Resources = field(default_factory=Resources)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint)
        if self.worker_id:
            check_worker_id(self.worker_id)
        if len(self.instance_id) > MAX_ID_CHARS:
            raise InvalidError(
                f"instance_id has {len(self.instance_id)} characters: use {MAX_ID_CHARS} at most"
            )
        size_bytes = sum(_size_bytes(key, value) for key, value in self.metadata.items())
        if len(self.metadata) > MAX_METADATA_ENTRIES or size_bytes > MAX_METADATA_BYTES:
            raise InvalidError(
                f"metadata has {len(self.metadata)} entries and {size_bytes} bytes: "
                f"use {MAX_METADATA_ENTRIES} and {MAX_METADATA_BYTES} at most"
            )


class Heartbeat(NamedTuple):
    """A `Heartbeat` reports that a worker runs.

    `resources` None keeps the last ones. An `incarnation` of 0 is neither fenced nor ordered, and a
    `sequence` of 0 is not ordered: old clients send zeros. `leaving` announces that the worker is shutting
    down.

    This and `LeaseRenewed` are made for every heartbeat. They are named tuples because a frozen dataclass
    takes three times as long to make.
    """

    worker_id: str
    resources: Resources | None = None
    incarnation: int = 0
    sequence: int = 0
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Deregister:
    """A `Deregister` ends a registration at the worker's own request. An `incarnation` of 0 is not fenced."""

    worker_id: str
    reason: str = ""
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class _OperatorCommand:
    """This is the base of operator commands. `reason` is empty if the operator gives none. Raises
    `InvalidError` if it is too long."""

    worker_id: str
    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > MAX_REASON_CHARS:
            raise InvalidError(f"reason has {len(self.reason)} characters: use {MAX_REASON_CHARS} at most")


@dataclass(frozen=True, slots=True)
class Cordon(_OperatorCommand):
    """A `Cordon` keeps new work away from a registered or departed worker. A draining one stays draining."""


@dataclass(frozen=True, slots=True)
class Uncordon(_OperatorCommand):
    """An `Uncordon` ends the cordon or the drain of a registered or departed worker."""


@dataclass(frozen=True, slots=True)
class Drain(_OperatorCommand):
    """A `Drain` orders a registered worker to finish what it runs and leave."""


@dataclass(frozen=True, slots=True)
class Remove(_OperatorCommand):
    """A `Remove` ends a registration. If the worker still runs, the answer to its next heartbeat orders it to
    register."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A `Sweep` expires every lease and forgets every worker whose deadline is now or has passed."""


Command = Register | Heartbeat | Deregister | Cordon | Uncordon | Drain | Remove | Sweep
