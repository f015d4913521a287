"""Configuration: flags, environment, file and defaults become one frozen object for each role."""

from minicloud.config.settings import (
    ControlPlaneConfig,
    LogConfig,
    WorkerConfig,
    control_plane_config,
    is_worker,
    worker_config,
)
from minicloud.config.state_dir import prepare_data_dir

__all__ = [
    "ControlPlaneConfig",
    "LogConfig",
    "WorkerConfig",
    "control_plane_config",
    "is_worker",
    "prepare_data_dir",
    "worker_config",
]
