from __future__ import annotations

import pytest

from minicloud.config import control_plane_config, worker_config
from minicloud.config.environment import misspelt, variables_of


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("MINICLOUD_HEARTBEAT_INTERVALL", "MINICLOUD_HEARTBEAT_INTERVAL"),
        ("MINICLOUD_HEARTBEATINTERVAL", "MINICLOUD_HEARTBEAT_INTERVAL"),
        ("MINICLOUD_GRPCPORT", "MINICLOUD_GRPC_PORT"),
        ("MINICLOUD_DATADIR", "MINICLOUD_DATA_DIR"),
        ("MINICLOUD-HOST", "MINICLOUD_HOST"),
        ("minicloud_http_port", "MINICLOUD_HTTP_PORT"),
        ("Minicloud_Log_Level", "MINICLOUD_LOG_LEVEL"),
        ("MINICLOUD_CONFG", "MINICLOUD_CONFIG"),
        ("MINICLOUD_WOKRER", "MINICLOUD_WORKER"),
        ("MINICLOUD_ULR", "MINICLOUD_URL"),
        ("MINICLOUD_WORKER_IDD", "MINICLOUD_WORKER_ID"),
        ("MINCLOUD_GRPC_PORT", "MINICLOUD_GRPC_PORT"),
        ("MINI_CLOUD_RETENTION", "MINICLOUD_RETENTION"),
    ],
)
def test_variable_misspelt_is_a_warning_that_names_the_nearest(variable: str, near: str) -> None:
    (warning,) = misspelt({variable: "s3cret", "PATH": "/bin"})
    assert warning == f"the environment variable {variable} sets nothing: did you mean {near}?"


def test_variable_like_none_is_a_warning_without_its_value() -> None:
    (warning,) = misspelt({"MINICLOUD_QQQQ": "s3cret"})
    assert (
        warning == "the environment variable MINICLOUD_QQQQ sets nothing: minicloud --help lists the settings"
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        # Settings of both roles, and the program's other variables.
        ("MINICLOUD_HEARTBEAT_INTERVAL", "5s"),
        ("MINICLOUD_DRAIN_TIMEOUT", "5s"),
        ("MINICLOUD_WORKER", "true"),
        ("MINICLOUD_CONFIG", "a.yml"),
        ("MINICLOUD_URL", "http://a"),
        ("MINICLOUD_CONTROLPLANE_ENDPOINT", "a:1"),
        ("MINICLOUD_WORKER_ID", "a"),
        ("MINICLOUD_EXECUTABLE", "dist/minicloud"),
        # Kubernetes sets these beside services called minicloud, minicloud-worker, minicloud-http.
        ("MINICLOUD_PORT", "tcp://10.0.0.1:9090"),
        ("MINICLOUD_SERVICE_HOST", "10.0.0.1"),
        ("MINICLOUD_SERVICE_PORT", "9090"),
        ("MINICLOUD_SERVICE_PORT_GRPC", "9090"),
        ("MINICLOUD_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
        ("MINICLOUD_PORT_9090_TCP_ADDR", "10.0.0.1"),
        ("MINICLOUD_PORT_9090_TCP_PROTO", "tcp"),
        ("MINICLOUD_PORT_9090_TCP_PORT", "9090"),
        ("MINICLOUD_PORT_53_UDP_ADDR", "10.0.0.1"),
        ("MINICLOUD_WORKER_PORT", "tcp://10.0.0.1:9091"),
        ("MINICLOUD_HTTP_SERVICE_HOST", "10.0.0.1"),
        ("MINICLOUD_HTTP_PORT_8080_TCP_ADDR", "10.0.0.1"),
        # Other programs' names.
        ("NEXTCLOUD_HOST", "a"),
        ("GOOGLE_CLOUD_PROJECT", "a"),
        ("CLOUDSDK_CONFIG", "a"),
        ("MINIKUBE_HOME", "a"),
        ("MINIO_HOST", "a"),
    ],
)
def test_variable_known_or_anothers_is_no_warning(variable: str, text: str) -> None:
    assert list(misspelt({variable: text})) == []


def test_config_of_either_role_has_the_warning() -> None:
    env = {"HOME": "/home/me", "MINICLOUD_HEARTBEAT_INTERVALL": "5s", "MINICLOUD_SERVICE_HOST": "a"}
    for _, warnings in (control_plane_config({}, env), worker_config({}, env)):
        assert len(warnings) == 1
        assert "did you mean MINICLOUD_HEARTBEAT_INTERVAL?" in warnings[0]


@pytest.mark.parametrize(
    ("key", "first", "also"),
    [
        ("grpc.server.port", "GRPC_SERVER_PORT", "grpc_server_port"),
        ("grpc.server.enable-reflection", "GRPC_SERVER_ENABLEREFLECTION", "GRPC_SERVER_ENABLE_REFLECTION"),
        ("a.list[0]", "A_LIST_0", "a_list_0"),
    ],
)
def test_variables_of_a_key_are_those_of_relaxed_binding(key: str, first: str, also: str) -> None:
    variables = variables_of(key)
    assert variables[0] == first
    assert also in variables
