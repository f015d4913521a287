"""This table has every setting of both roles. The command line's options, the file's known keys and the
README's table are made from it; `python -m minicloud.config` prints the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from minicloud.config import values
from minicloud.config.durations import format_duration
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.registry import DEFAULT_MAX_WORKERS
from minicloud.worker.agent_config import DEFAULT_DRAIN_TIMEOUT_S

T = TypeVar("T", covariant=True)

_LIVENESS = LivenessPolicy()


class Role(Enum):
    """A `Role` is the kind of process that a setting is for."""

    CONTROL_PLANE = "control plane"
    WORKER = "worker"
    BOTH = "both"

    def covers(self, role: Role) -> bool:
        """Return True if a setting of this role applies to a process of `role`."""
        return self is role or self is Role.BOTH


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A `Setting` describes one setting.

    `default` is text as a user would write it, read by `parse` as any other; `default_shown` stands for it
    where the default is computed. Of several `keys` the first given counts.
    """

    name: str
    role: Role
    keys: tuple[str, ...]
    parse: Callable[[str], T]
    default: str
    metavar: str
    help: str
    default_shown: str = ""
    in_file_only: bool = False
    several: bool = False  # takes several values, with commas between; its flag may be repeated

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def env(self) -> str:
        return f"MINICLOUD_{self.name.upper().replace('-', '_')}"

    @property
    def shown_default(self) -> str:
        return self.default_shown or self.default


CONFIG_FILE_FLAG = "--config"
CONFIG_FILE_ENV = "MINICLOUD_CONFIG"
WORKER_FLAG = "--worker"
WORKER_ENV = "MINICLOUD_WORKER"
# Operator commands find the control plane by this variable.
URL_ENV = "MINICLOUD_URL"

# Both roles have this flag, so it has one text; the keys differ, as one file may serve both.
_DATA_DIR_HELP = "where the registry, or a worker's identity, outlives restarts; none keeps it in memory"
_DATA_DIR_DEFAULT = "under $STATE_DIRECTORY, $XDG_STATE_HOME/minicloud or ~/.local/state/minicloud"

# The default is loopback: the wire has no authentication, so a user has to ask for being reachable.
HOST = Setting(
    "host",
    Role.BOTH,
    ("minicloud.host", "grpc.server.address"),
    values.hosts,
    "127.0.0.1",
    "HOST[,HOST]",
    "names or addresses to listen on; 0.0.0.0 for every IPv4 one, :: for those of IPv6 too",
    several=True,
)
GRPC_PORT = Setting(
    "grpc-port",
    Role.CONTROL_PLANE,
    ("grpc.server.port",),
    values.port,
    "9090",
    "PORT",
    "gRPC port; 0 takes any free one",
)
HTTP_PORT = Setting(
    "http-port",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.http-port",),
    values.port,
    "8080",
    "PORT",
    "REST and metrics port; 0 takes any free one",
)
# Workers keep this interval. The traffic is workers / interval heartbeats a second: 5,000 at 30 s are 167.
HEARTBEAT_INTERVAL = Setting(
    "heartbeat-interval",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.heartbeat-interval",),
    values.duration_s(0.05, 3600.0),
    format_duration(_LIVENESS.heartbeat_interval_s),
    "DURATION",
    "how often workers report",
)
# The trade-off is the time to notice a death against false alarms. At timeout / interval = n, n - 1
# heartbeats in a row may be lost before a live worker is called UNHEALTHY; the default of 4 allows for three.
# Below 2 a single late one is enough, so `control_plane_config` refuses that (DESIGN 24).
HEARTBEAT_TIMEOUT = Setting(
    "heartbeat-timeout",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.heartbeat-timeout",),
    values.duration_s(0.1, 24 * 3600.0),
    format_duration(_LIVENESS.heartbeat_timeout_s),
    "DURATION",
    "silence after which a worker is UNHEALTHY; at least twice the interval",
)
# This is long enough that a machine back from repair finds its id and its cordon, and short enough that ids
# which never come back do not pile up.
RETENTION = Setting(
    "retention",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.retention",),
    values.duration_s(1.0, 3650 * 86400.0),
    f"{_LIVENESS.retention_s / 3600:g}h",
    "DURATION",
    "how long an UNHEALTHY worker is kept before it is forgotten, and one that left is remembered",
)
# Registered workers take some 5 KB each with the metadata that they may send. A client that can reach the
# port can register as many as this, and no more.
MAX_WORKERS = Setting(
    "max-workers",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.max-workers",),
    values.count,
    str(DEFAULT_MAX_WORKERS),
    "N",
    "how many workers may be registered at a time",
)
# There are five series a worker: at 5,000 workers a scrape grows from 4 KB to megabytes.
METRICS_PER_WORKER = Setting(
    "metrics-per-worker",
    Role.CONTROL_PLANE,
    ("minicloud.metrics.per-worker",),
    values.boolean,
    "false",
    "",
    "add metrics of each single worker to those of the cluster",
)
# Only the name distinguishes a page that has its own name resolve to this machine from an operator (DESIGN
# 26). `*` gives that up, which is for a network in which no browser runs.
ALLOWED_HOSTS = Setting(
    "allowed-host",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.allowed-host",),
    values.host_names,
    "",
    "NAME[,NAME]",
    "names by which browsers and changes may reach REST, as in cloud.example.com or *.example.com",
    default_shown="addresses, localhost, the machine's name and --host",
)
ALLOWED_ORIGINS = Setting(
    "allowed-origin",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.allowed-origin",),
    values.origins,
    "",
    "ORIGIN[,ORIGIN]",
    "origins besides its own whose pages may change things, as in https://ops.example.com (a proxy's)",
    default_shown="none",
)
CONTROL_PLANE_DATA_DIR = Setting(
    "data-dir",
    Role.CONTROL_PLANE,
    ("minicloud.control-plane.data-dir",),
    values.data_dir,
    "",
    "FOLDER",
    _DATA_DIR_HELP,
    default_shown=_DATA_DIR_DEFAULT,
)
WORKER_ID = Setting(
    "id",
    Role.WORKER,
    ("minicloud.worker.id",),
    values.worker_id,
    "",
    "ID",
    "wanted id; the control plane may assign another",
    default_shown="one is generated",
)
CONTROL_PLANES = Setting(
    "control-plane",
    Role.WORKER,
    # A deployment's file has the address under the second key; the first is the one that its gRPC client
    # dials.
    ("grpc.client.control-plane.address", "minicloud.control-plane.endpoint"),
    values.endpoints,
    "127.0.0.1:9090",
    "HOST:PORT[,HOST:PORT]",
    "where the control plane listens; of several, the first named that answers",
    several=True,
)
WORKER_PORT = Setting(
    "port",
    Role.WORKER,
    ("grpc.server.port",),
    values.port,
    "9091",
    "PORT",
    "gRPC port; 0 takes any free one",
)
ADVERTISE = Setting(
    "advertise",
    Role.WORKER,
    ("minicloud.worker.advertise",),
    values.advertised,
    "",
    "HOST:PORT",
    "address at which others reach this worker",
    default_shown="found out from the connection to the control plane",
)
ZONE = Setting(
    "zone", Role.WORKER, ("minicloud.worker.zone",), values.zone, "default", "ZONE", "failure domain"
)
EXIT_AFTER_FAILURES = Setting(
    "exit-after-failures",
    Role.WORKER,
    ("minicloud.worker.exit-after-failures",),
    values.failures,
    "never",
    "N",
    "end with exit code 3 after N failed registrations in a row",
)
# This should exceed the longest query worth waiting for, and stay below the time after which the service
# manager kills (90 s under systemd, 30 s under Kubernetes).
DRAIN_TIMEOUT = Setting(
    "drain-timeout",
    Role.WORKER,
    ("minicloud.worker.drain-timeout",),
    values.duration_s(0.0, 24 * 3600.0),
    format_duration(DEFAULT_DRAIN_TIMEOUT_S),
    "DURATION",
    "how long a worker that is told to end waits for its running queries",
)
WORKER_DATA_DIR = Setting(
    "data-dir",
    Role.WORKER,
    ("minicloud.worker.data-dir",),
    values.data_dir,
    "",
    "FOLDER",
    _DATA_DIR_HELP,
    default_shown=_DATA_DIR_DEFAULT,
)
LOG_LEVEL = Setting(
    "log-level",
    Role.BOTH,
    ("minicloud.log.level",),
    values.choice("debug", "info", "warning", "error"),
    "info",
    "LEVEL",
    "least level logged: debug, info, warning or error",
)
LOG_FORMAT = Setting(
    "log-format",
    Role.BOTH,
    ("minicloud.log.format",),
    values.choice("auto", "json", "console"),
    "auto",
    "FORMAT",
    "json or console; auto is console on a terminal, else json",
)
# Reflection is on, as the schema is public and grpcurl then works at once.
ENABLE_REFLECTION = Setting(
    "enable-reflection",
    Role.BOTH,
    # The second key is the gRPC starter's own.
    ("grpc.server.enable-reflection", "grpc.server.reflection-service-enabled"),
    values.boolean,
    "true",
    "",
    "answer gRPC reflection (grpcurl)",
)
NEGOTIATION_TYPE = Setting(
    "negotiation-type",
    Role.WORKER,
    # The second key is for every client of the gRPC starter.
    ("grpc.client.control-plane.negotiation-type", "grpc.client.GLOBAL.negotiation-type"),
    values.plaintext,
    "plaintext",
    "",
    "how the connection to the control plane is secured; only plaintext",
    in_file_only=True,
)
# These keys are known so that a file that asks for TLS is refused: if they were passed over, it would be
# served in plain text (DESIGN 71).
SERVER_SECURITY = Setting(
    "server-security",
    Role.BOTH,
    ("grpc.server.security.enabled",),
    values.no_security,
    "false",
    "",
    "how connections to this process are secured; only false, which is plaintext",
    in_file_only=True,
)

SETTINGS: tuple[Setting[object], ...] = (
    HOST,
    GRPC_PORT,
    HTTP_PORT,
    CONTROL_PLANE_DATA_DIR,
    HEARTBEAT_INTERVAL,
    HEARTBEAT_TIMEOUT,
    RETENTION,
    MAX_WORKERS,
    METRICS_PER_WORKER,
    ALLOWED_HOSTS,
    ALLOWED_ORIGINS,
    WORKER_ID,
    CONTROL_PLANES,
    WORKER_PORT,
    ADVERTISE,
    ZONE,
    WORKER_DATA_DIR,
    EXIT_AFTER_FAILURES,
    DRAIN_TIMEOUT,
    LOG_LEVEL,
    LOG_FORMAT,
    ENABLE_REFLECTION,
    NEGOTIATION_TYPE,
    SERVER_SECURITY,
)

KNOWN_KEYS: tuple[str, ...] = tuple(dict.fromkeys(key for setting in SETTINGS for key in setting.keys))


def markdown() -> str:
    """Return the configuration table of the README."""
    lines = ["| flag | environment | key in the file | default | what it sets |", "|---|---|---|---|---|"]
    for role in (Role.BOTH, Role.CONTROL_PLANE, Role.WORKER):
        title = {Role.BOTH: "Both", Role.CONTROL_PLANE: "Control plane", Role.WORKER: "Worker"}[role]
        lines.append(f"| **{title}** | | | | |")
        for setting in SETTINGS:
            if setting.role is role:
                flag = "" if setting.in_file_only else f"`{setting.flag}`"
                env = "" if setting.in_file_only else f"`{setting.env}`"
                keys = ", ".join(f"`{key}`" for key in setting.keys)
                default = setting.default_shown or f"`{setting.default}`"
                lines.append(f"| {flag} | {env} | {keys} | {default} | {setting.help} |")
    return "\n".join(lines)
