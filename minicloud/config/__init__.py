"""This package turns flags, environment, file and defaults into one frozen object for each role.

    config, warnings = worker_config({"port": "9092"}, os.environ)
    config.port         # 9092
    warnings            # lines to log: what the file and the environment have that sets nothing

Flags win over environment variables, these over the file, and the file over defaults. `table` has every
setting of both roles, `values` parses their texts, `file` and `yaml_tree` read the `application.yml` of a
deployment (DESIGN 71), `environment` and `placeholders` do the rest of Spring Boot's ways. Every error is a
`ConfigError` of one line that names the source of the value.
"""

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
