"""This module resolves, checks and freezes the settings of a process.

Flags win over environment variables, these over the file, and the file over defaults. Every error has the
source of the value, the value, and a right one. Only the settings of the role at hand are read (DESIGN 25).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from minicloud.config import table
from minicloud.config.durations import format_duration
from minicloud.config.environment import find_variable, is_service_link, misspelt
from minicloud.config.file import ConfigFile, read_config_file
from minicloud.config.placeholders import Value, variable
from minicloud.config.state_dir import default_state_dir
from minicloud.config.table import Role, Setting
from minicloud.config.values import DataDir, boolean
from minicloud.core.errors import ConfigError
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.registry import DEFAULT_MAX_WORKERS
from minicloud.net.address import Address
from minicloud.worker.agent_config import DEFAULT_DRAIN_TIMEOUT_S

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The log's settings. `level` is debug, info, warning or error; `format` is json, console or auto
    (console on a terminal)."""

    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True, slots=True)
class ControlPlaneConfig:
    """The control plane's settings. `data_dir` None keeps all in memory; port 0 is any free one."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    grpc_port: int = 9090
    http_port: int = 8080
    data_dir: Path | None = None
    liveness: LivenessPolicy = field(default_factory=LivenessPolicy)
    max_workers: int = DEFAULT_MAX_WORKERS
    enable_reflection: bool = True
    metrics_per_worker: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    log: LogConfig = LogConfig()


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The worker's settings. An empty `worker_id` has one generated; `exit_after_failures` None is never."""

    worker_id: str = ""
    control_planes: tuple[Address, ...] = (Address("127.0.0.1", 9090),)
    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9091
    advertise: str | None = None
    zone: str = "default"
    data_dir: Path | None = None
    exit_after_failures: int | None = None
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    enable_reflection: bool = True
    log: LogConfig = LogConfig()


def control_plane_config(
    flags: Mapping[str, str], env: Mapping[str, str]
) -> tuple[ControlPlaneConfig, tuple[str, ...]]:
    """Return the control plane's settings, and warnings to log. `flags` has those given, by name:
    `grpc-port`.

    Raises `ConfigError`. Reads the file that `--config` or `MINICLOUD_CONFIG` names, and no other.
    """
    sources = _Sources(flags, env, Role.CONTROL_PLANE)
    sources.value(table.SERVER_SECURITY)
    interval_s = sources.value(table.HEARTBEAT_INTERVAL)
    timeout_s = sources.value(table.HEARTBEAT_TIMEOUT)
    if timeout_s < 2 * interval_s:
        raise ConfigError(
            f"heartbeat timeout {format_duration(timeout_s)} ({sources.where(table.HEARTBEAT_TIMEOUT)}) "
            f"is less than twice the heartbeat interval {format_duration(interval_s)} "
            f"({sources.where(table.HEARTBEAT_INTERVAL)}), so that one late heartbeat would make a "
            f"worker UNHEALTHY: raise the timeout to {format_duration(2 * interval_s)} or more, "
            "or lower the interval"
        )
    config = ControlPlaneConfig(
        hosts=sources.value(table.HOST),
        grpc_port=sources.value(table.GRPC_PORT),
        http_port=sources.value(table.HTTP_PORT),
        data_dir=_data_dir(sources.value(table.CONTROL_PLANE_DATA_DIR), "control-plane", env),
        liveness=LivenessPolicy(interval_s, timeout_s, sources.value(table.RETENTION)),
        max_workers=sources.value(table.MAX_WORKERS),
        enable_reflection=sources.value(table.ENABLE_REFLECTION),
        metrics_per_worker=sources.value(table.METRICS_PER_WORKER),
        allowed_hosts=sources.value(table.ALLOWED_HOSTS),
        allowed_origins=sources.value(table.ALLOWED_ORIGINS),
        log=LogConfig(sources.value(table.LOG_LEVEL), sources.value(table.LOG_FORMAT)),
    )
    if config.grpc_port == config.http_port != 0:
        raise ConfigError(
            f"gRPC ({sources.where(table.GRPC_PORT)}) and REST ({sources.where(table.HTTP_PORT)}) "
            f"cannot share port {config.grpc_port}: give one of them another"
        )
    return config, sources.warnings


def worker_config(flags: Mapping[str, str], env: Mapping[str, str]) -> tuple[WorkerConfig, tuple[str, ...]]:
    """Return the worker's settings, and warnings to log, as `control_plane_config` does."""
    sources = _Sources(flags, env, Role.WORKER)
    sources.value(table.NEGOTIATION_TYPE)
    sources.value(table.SERVER_SECURITY)
    port = sources.value(table.WORKER_PORT)
    data_dir = sources.value(table.WORKER_DATA_DIR)
    if data_dir is DataDir.DEFAULT and port == 0:
        # nothing lasting distinguishes one worker on any free port from another (DESIGN 22)
        data_dir = DataDir.NONE
    config = WorkerConfig(
        worker_id=sources.value(table.WORKER_ID),
        control_planes=sources.value(table.CONTROL_PLANES),
        hosts=sources.value(table.HOST),
        port=port,
        advertise=sources.value(table.ADVERTISE),
        zone=sources.value(table.ZONE),
        data_dir=_data_dir(data_dir, f"worker-{port}", env),
        exit_after_failures=sources.value(table.EXIT_AFTER_FAILURES),
        drain_timeout_s=sources.value(table.DRAIN_TIMEOUT),
        enable_reflection=sources.value(table.ENABLE_REFLECTION),
        log=LogConfig(sources.value(table.LOG_LEVEL), sources.value(table.LOG_FORMAT)),
    )
    return config, sources.warnings


def is_worker(flags: Mapping[str, str], env: Mapping[str, str]) -> bool:
    """Return True if this process is a worker, by `--worker`, else by `MINICLOUD_WORKER`."""
    for where, text in (
        (table.WORKER_FLAG, flags.get("worker")),
        (table.WORKER_ENV, variable(env, table.WORKER_ENV)),
    ):
        if text:
            try:
                return boolean(text)
            except ValueError as error:
                raise ConfigError(f"{where}: {text!r} {error}") from None
    return False


class _Sources:
    """`_Sources` looks up the settings of one role in flags, environment and file."""

    def __init__(self, flags: Mapping[str, str], env: Mapping[str, str], role: Role) -> None:
        self._flags = flags
        self._env = env
        for name in flags:
            of_name = [setting for setting in table.SETTINGS if setting.name == name]
            if of_name and not any(setting.role.covers(role) for setting in of_name):
                raise ConfigError(_misfit(of_name[0], role))
        path = flags.get("config") or variable(env, table.CONFIG_FILE_ENV)
        self._file = read_config_file(Path(path), table.KNOWN_KEYS, env) if path else ConfigFile({}, env)

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*misspelt(self._env), *self._file.warnings)

    def value(self, setting: Setting[T]) -> T:
        found = self._found(setting)
        text, where = self._file.expanded(found), found.where
        try:
            return setting.parse(text)
        except ValueError as error:
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise ConfigError(f"{where}: {shown!r} {error}") from None

    def where(self, setting: Setting[object]) -> str:
        """Return the source of a setting's value, for a message."""
        return self._found(setting).where

    def _found(self, setting: Setting[object]) -> Value:
        if not setting.in_file_only:
            if setting.name in self._flags:
                return Value(self._flags[setting.name], setting.flag)
            text = self._env.get(setting.env, "")
            if text and not is_service_link(text):
                return Value(text, setting.env)
        for key in setting.keys:
            name, text = find_variable(self._env, key) or ("", "")
            if text:
                return Value(text, name)
            value = self._file.get(key)
            if value is not None:
                return value
        return Value(setting.default, "by default")


def _misfit(setting: Setting[object], role: Role) -> str:
    if role is Role.WORKER:
        instead = {"grpc-port": "; a worker's gRPC port is --port"}.get(setting.name, "")
        return f"{setting.flag} is for the control plane, not for --worker{instead}"
    instead = {"port": "; the control plane has --grpc-port and --http-port"}.get(setting.name, "")
    return f"{setting.flag} is for a worker: give --worker too{instead}"


def _data_dir(given: Path | DataDir, name: str, env: Mapping[str, str]) -> Path | None:
    if given is DataDir.NONE:
        return None
    if isinstance(given, Path):
        return given
    return default_state_dir(env) / name
