from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minicloud.config import (
    ControlPlaneConfig,
    LogConfig,
    WorkerConfig,
    control_plane_config,
    is_worker,
    prepare_data_dir,
    worker_config,
)
from minicloud.config.table import KNOWN_KEYS, SETTINGS, markdown
from minicloud.core.errors import ConfigError
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.net.address import Address
from tests.unit.config.test_file import DEPLOYED

HOME = {"HOME": "/home/me"}


def control_plane(
    flags: dict[str, str] | None = None, env: dict[str, str] | None = None
) -> ControlPlaneConfig:
    return control_plane_config(flags or {}, HOME | (env or {}))[0]


def worker(flags: dict[str, str] | None = None, env: dict[str, str] | None = None) -> WorkerConfig:
    return worker_config(flags or {}, HOME | (env or {}))[0]


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "app.yml"
    path.write_text(text)
    return str(path)


def test_control_plane_config_without_anything_is_the_defaults() -> None:
    assert control_plane({"data-dir": "none"}) == ControlPlaneConfig(
        liveness=LivenessPolicy(30.0, 120.0, 86400.0)
    )


def test_worker_config_without_anything_is_the_defaults() -> None:
    assert worker({"data-dir": "none"}) == WorkerConfig()


def test_worker_config_of_a_deployment_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, DEPLOYED)
    config, warnings = worker_config({"config": path, "data-dir": "none"}, {"WORKER_ID": "w-7"})
    assert config == WorkerConfig(worker_id="w-7", control_planes=(Address("localhost", 9090),), port=9091)
    assert warnings == ()


def test_control_plane_config_reads_every_key_of_its_own(tmp_path: Path) -> None:
    text = """\
minicloud:
  host: 0.0.0.0
  control-plane:
    http-port: 1
    data-dir: /srv/mc
    heartbeat-interval: 5s
    heartbeat-timeout: 20s
    retention: 7d
    allowed-host: Cloud, *.example.com
    allowed-origin: https://ops.example.com
    max-workers: 77
  metrics: {per-worker: true}
  log: {level: DEBUG, format: json}
grpc: {server: {port: 2, enable-reflection: false}}
"""
    assert control_plane({"config": written(tmp_path, text)}) == ControlPlaneConfig(
        ("0.0.0.0",),
        2,
        1,
        Path("/srv/mc"),
        LivenessPolicy(5.0, 20.0, 604800.0),
        77,
        False,
        True,
        ("cloud", "*.example.com"),
        ("https://ops.example.com",),
        LogConfig("debug", "json"),
    )


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", ()),
        ("*", ("*",)),
        ("a.example.com., B,a.example.com", ("a.example.com", "b")),
        ("*.pods", ("*.pods",)),
    ],
)
def test_allowed_hosts_are_names(text: str, read: tuple[str, ...]) -> None:
    assert control_plane(env={"MINICLOUD_ALLOWED_HOST": text}).allowed_hosts == read


@pytest.mark.parametrize("text", ["a:8080", "http://a", "a,,b", "a b", "a.*.b", "[::1]"])
def test_allowed_host_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--allowed-host: .* is not NAME"):
        control_plane({"allowed-host": text})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://Ops.example.com/", ("https://ops.example.com",)),
        ("https://a:443,http://a:80,http://[::1]:8080", ("https://a", "http://a", "http://[::1]:8080")),
    ],
)
def test_allowed_origins_are_as_browsers_send_them(text: str, read: tuple[str, ...]) -> None:
    assert control_plane({"allowed-origin": text}).allowed_origins == read


@pytest.mark.parametrize("text", ["ops.example.com", "https://a/path", "*", "null", "ftp://a", "https://"])
def test_allowed_origin_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--allowed-origin: .* is not ORIGIN"):
        control_plane({"allowed-origin": text})


def test_worker_config_reads_every_key_of_its_own(tmp_path: Path) -> None:
    text = """\
minicloud:
  host: ["::1", 10.0.0.7]
  worker: {id: w, zone: eu-1, advertise: "w.example:1", drain-timeout: 0s, dataDir: none}
  worker.exit-after-failures: 3
  control-plane: {endpoint: [a:1, "[fd00::1]:2"]}
  log: {level: warning, format: console}
grpc: {server: {port: 2, enable-reflection: false}}
"""
    assert worker({"config": written(tmp_path, text)}) == WorkerConfig(
        "w", (Address("a", 1), Address("fd00::1", 2)), ("::1", "10.0.0.7"), 2, "w.example:1", "eu-1", None,
        3, 0.0, False, LogConfig("warning", "console"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "env", "port"),
    [
        ({}, {}, 9090),
        ({"config": "FILE"}, {}, 7001),
        ({}, {"MINICLOUD_CONFIG": "FILE"}, 7001),
        ({"config": "FILE"}, {"MINICLOUD_GRPC_PORT": "7002"}, 7002),
        ({"config": "FILE"}, {"MINICLOUD_GRPC_PORT": ""}, 7001),
        ({"config": "FILE"}, {"MINICLOUD_GRPC_PORT": "tcp://10.0.0.1:9090"}, 7001),
        ({"config": "FILE", "grpc-port": "7003"}, {"MINICLOUD_GRPC_PORT": "7002"}, 7003),
        ({"grpc-port": "7003"}, {"MINICLOUD_GRPC_PORT": "nonsense"}, 7003),
    ],
)
def test_setting_given_in_several_places_flag_wins_over_environment_over_file(
    tmp_path: Path, flags: dict[str, str], env: dict[str, str], port: int
) -> None:
    path = written(tmp_path, "grpc.server.port: 7001")

    def filled(given: dict[str, str]) -> dict[str, str]:
        return {name: path if text == "FILE" else text for name, text in given.items()}

    assert control_plane(filled(flags), filled(env)).grpc_port == port


def test_setting_with_two_keys_first_one_given_wins(tmp_path: Path) -> None:
    path = written(tmp_path, "minicloud.control-plane.endpoint: a:1\ngrpc.client.control-plane.address: b:2")
    assert worker({"config": path}).control_planes == (("b", 2),)


@pytest.mark.parametrize(
    ("flags", "env", "port"),
    [
        ({}, {"GRPC_SERVER_PORT": "7002"}, 7002),
        ({}, {"grpc_server_port": "7002"}, 7002),
        ({}, {"GRPC_SERVER_PORT": "7002", "MINICLOUD_GRPC_PORT": "7003"}, 7003),
        ({"grpc-port": "7004"}, {"GRPC_SERVER_PORT": "7002"}, 7004),
        ({}, {"GRPC_SERVER_PORT": ""}, 7001),
        ({}, {"GRPC_SERVER_PORT": "tcp://10.0.0.1:9090"}, 7001),
        # Placeholders are expanded in values from every source.
        ({}, {"GRPC_SERVER_PORT": "${PORT:7005}"}, 7005),
        ({}, {"MINICLOUD_GRPC_PORT": "${PORT}", "PORT": "7006"}, 7006),
        ({}, {"MINICLOUD_GRPC_PORT": "${base}7"}, 7007),
        ({"grpc-port": "${my.port}"}, {"MY_PORT": "7008"}, 7008),
    ],
)
def test_setting_given_by_the_variable_of_its_key_or_by_a_placeholder_is_read(
    tmp_path: Path, flags: dict[str, str], env: dict[str, str], port: int
) -> None:
    path = written(tmp_path, "grpc.server.port: 7001\nbase: 700")
    assert control_plane({"config": path, **flags}, env).grpc_port == port


def test_setting_without_a_file_has_its_placeholders_expanded() -> None:
    env = {"MINICLOUD_ID": "w-${POD_NAME:${HOSTNAME}}", "HOSTNAME": "h1", "MINICLOUD_WORKER": "${W:true}"}
    assert worker({}, env).worker_id == "w-h1"
    assert is_worker({}, env)


def test_file_named_with_a_placeholder_is_read(tmp_path: Path) -> None:
    written(tmp_path, "grpc.server.port: 7001")
    env = {"MINICLOUD_CONFIG": "${DIR}/app.yml", "DIR": str(tmp_path)}
    assert control_plane({}, env).grpc_port == 7001


def test_setting_with_an_open_placeholder_names_the_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        worker({}, {"MINICLOUD_ID": "${POD}"})
    assert str(caught.value).startswith("MINICLOUD_ID: 'POD' is neither an environment variable nor")


@pytest.mark.parametrize(
    "env",
    [
        {"MINICLOUD_CONTROLPLANE_ENDPOINT": "cp:1"},
        {"MINICLOUD_CONTROL_PLANE_ENDPOINT": "cp:1"},
        {"CONTROL_PLANE_ENDPOINT": "cp:1"},
        {"GRPC_CLIENT_CONTROLPLANE_ADDRESS": "static://cp:1"},
    ],
)
def test_deployment_file_sees_its_keys_in_the_environment(tmp_path: Path, env: dict[str, str]) -> None:
    assert worker({"config": written(tmp_path, DEPLOYED)}, env).control_planes == (("cp", 1),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grpc.server.security.enabled: true", "grpc.server.security.enabled: 'true' is not available"),
        ("grpc.client.GLOBAL.negotiation-type: tls", "GLOBAL.negotiation-type: 'tls' is not available"),
    ],
)
def test_file_that_asks_for_tls_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        worker({"config": written(tmp_path, text)})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cp:9090", (("cp", 9090),)),
        ("a:1, b:2,a:1", (Address("a", 1), Address("b", 2))),
        ("static://cp:9090", (("cp", 9090),)),
        ("static://a:1,b:2", (Address("a", 1), Address("b", 2))),
        ("dns:///cp.example:9090", (("cp.example", 9090),)),
        ("[::1]:9090", (("::1", 9090),)),
    ],
)
def test_control_plane_address_in_springs_forms_is_read(
    text: str, found: tuple[tuple[str, int], ...]
) -> None:
    assert worker({"control-plane": text}).control_planes == found


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"heartbeat-interval": "30"}, "--heartbeat-interval: '30' is not a duration: write a number and"),
        ({"heartbeat-interval": "1ms"}, "--heartbeat-interval: '1ms' is out of range: give 50ms to 1h"),
        ({"grpc-port": "65536"}, "--grpc-port: '65536' is not a port: give 1 to 65535"),
        ({"grpc-port": "-1"}, "is not a port"),
        ({"grpc-port": "９０９０"}, "is not a port"),
        ({"http-port": "9090"}, "gRPC (by default) and REST (--http-port) cannot share port 9090"),
        ({"host": "a b"}, "--host: 'a b' is not a host"),
        ({"host": "10.0.0.1:80"}, "is not a host"),
        ({"host": "10.0.0.1,"}, "is not a host"),
        ({"host": "a..b"}, "is not a host"),
        ({"host": "10.0.0.256"}, "is not a host"),
        ({"log-level": "loud"}, "--log-level: 'loud' is not one of debug, info, warning, error"),
        ({"metrics-per-worker": "maybe"}, "is neither true nor false"),
        ({"config": "/nowhere.yml"}, "cannot read the configuration file /nowhere.yml: No such file"),
        ({"heartbeat-timeout": "10s"}, "heartbeat timeout 10s (--heartbeat-timeout) is less than twice the "
            "heartbeat interval 30s (by default)"),
        ({"zone": "a"}, "--zone is for a worker: give --worker too"),
        ({"port": "1"}, "the control plane has --grpc-port and --http-port"),
    ],
)  # fmt: skip
def test_control_plane_config_bad_flag_names_it_its_value_and_what_is_right(
    flags: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        control_plane(flags)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"id": "a b"}, "--id: 'a b' is not an id: use 1 to 128 of the characters"),
        ({"id": "stats"}, "--id: 'stats' is reserved"),
        ({"control-plane": "cp"}, "--control-plane: 'cp' is not HOST:PORT[,HOST:PORT]"),
        ({"control-plane": "cp:0"}, "is not HOST:PORT"),
        ({"control-plane": "a:1,"}, "is not HOST:PORT"),
        ({"control-plane": "discovery:///cp"}, "has a scheme other than static:// and dns:///"),
        ({"advertise": "here"}, "--advertise: 'here' is not host:port"),
        ({"zone": "a\nb"}, "is not a zone"),
        ({"exit-after-failures": "0"}, "is not a count: give 1 or more, or never"),
        (
            {"grpc-port": "1"},
            "--grpc-port is for the control plane, not for --worker; a worker's gRPC port is --port",
        ),
        ({"data-dir": "a\0b"}, "is not a folder"),
    ],
)
def test_worker_config_bad_flag_names_it_its_value_and_what_is_right(
    flags: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        worker(flags)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("10.0.0.7", ("10.0.0.7",)),
        ("[::1]", ("::1",)),
        (" *, fd00::7 ,10.0.0.7,fd00::7", ("0.0.0.0", "fd00::7", "10.0.0.7")),
        ("fe80::1%eth0,localhost", ("fe80::1%eth0", "localhost")),
    ],
)
def test_host_may_be_several(text: str, hosts: tuple[str, ...]) -> None:
    assert control_plane({"host": text}).hosts == worker(env={"MINICLOUD_HOST": text}).hosts == hosts


@pytest.mark.parametrize("endpoint", ["0.0.0.0:9091", "[::]:9091"])
def test_advertised_address_that_nobody_can_reach_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"--advertise: .* that nobody can reach"):
        worker({"advertise": endpoint})


def test_setting_bad_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="MINICLOUD_HEARTBEAT_INTERVAL: 'soon' is not a duration"):
        control_plane(env={"MINICLOUD_HEARTBEAT_INTERVAL": "soon"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\ngrpc: {server: {port: many}}", "app.yml:2: grpc.server.port: 'many' is not a port"),
        ("grpc.server.port: ${P:http}", "app.yml:1: grpc.server.port: 'http' is not a port"),
        ("grpc.client.control-plane.negotiation-type: TLS", "negotiation-type: 'TLS' is not available"),
        (
            "minicloud.worker.id: ${NOBODY_SET_THIS}",
            "app.yml:1: minicloud.worker.id: 'NOBODY_SET_THIS' is neither",
        ),
    ],
)
def test_setting_bad_in_the_file_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        worker({"config": written(tmp_path, text)})
    assert message in str(caught.value)


def test_setting_of_the_other_role_may_stay_open(tmp_path: Path) -> None:
    path = written(tmp_path, "minicloud.worker.id: ${NOBODY_SET_THIS}\nminicloud.worker.drain-timeout: soon")
    assert control_plane({"config": path}).grpc_port == 9090


def test_config_passes_on_the_warning_of_the_file(tmp_path: Path) -> None:
    _, warnings = control_plane_config({"config": written(tmp_path, "spring: {a: 1}")}, HOME)
    assert len(warnings) == 1
    assert "spring (line 1)" in warnings[0]


@pytest.mark.parametrize(
    ("env", "base"),
    [
        ({"STATE_DIRECTORY": "/var/lib/minicloud", "XDG_STATE_HOME": "/x"}, "/var/lib/minicloud"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x"}, "/x/minicloud"),
        ({"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/minicloud"),
        ({}, "/home/me/.local/state/minicloud"),
    ],
)
def test_data_dir_by_default_is_the_services_or_the_users(env: dict[str, str], base: str) -> None:
    assert control_plane(env=env).data_dir == Path(base) / "control-plane"
    assert worker({"port": "9191"}, env).data_dir == Path(base) / "worker-9191"


def test_data_dir_of_a_worker_on_any_free_port_is_none() -> None:
    assert worker({"port": "0"}).data_dir is None


def test_data_dir_without_any_home_says_what_to_give() -> None:
    # This runs in a process of its own under a user id that no one has: the home is looked up there.
    code = """
import os
from minicloud.config import control_plane_config
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.errors import ConfigError
os.setuid(54321)
try:
    control_plane_config({}, {})
except ConfigError as error:
    print(error)
"""
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={}, timeout=20)
    assert "no folder to keep data in" in done.stdout, done.stderr
    assert "--data-dir none" in done.stdout


def test_data_dir_prepared_is_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    prepare_data_dir(folder)
    prepare_data_dir(folder)
    prepare_data_dir(None)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/nothing"])
def test_data_dir_not_writable_says_what_to_give(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--data-dir none"):
        prepare_data_dir(tmp_path / name)


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        ({}, {}, False),
        ({"worker": "true"}, {}, True),
        ({}, {"MINICLOUD_WORKER": "1"}, True),
        ({}, {"MINICLOUD_WORKER": "false"}, False),
    ],
)
def test_role_is_the_flags_or_the_environments(
    flags: dict[str, str], env: dict[str, str], expected: bool
) -> None:
    assert is_worker(flags, env) is expected


def test_role_not_understood_is_refused() -> None:
    with pytest.raises(ConfigError, match="MINICLOUD_WORKER: 'perhaps' is neither"):
        is_worker({}, {"MINICLOUD_WORKER": "perhaps"})


def test_settings_defaults_all_parse() -> None:
    for setting in SETTINGS:
        setting.parse(setting.default)


def test_settings_keys_are_all_under_our_roots_and_distinct_within_a_role() -> None:
    assert all(key.split(".")[0] in ("minicloud", "grpc") for key in KNOWN_KEYS)
    for setting in SETTINGS:
        for other in SETTINGS:
            if setting is not other and (setting.role.covers(other.role) or other.role.covers(setting.role)):
                assert not set(setting.keys) & set(other.keys)
                assert setting.name != other.name


def test_settings_table_has_a_line_for_every_setting() -> None:
    text = markdown()
    for setting in SETTINGS:
        assert setting.help in text
        assert all(f"`{key}`" in text for key in setting.keys)


def test_readme_holds_the_settings_table_as_it_is() -> None:
    readme = Path(__file__).parents[3] / "README.md"
    assert markdown() in readme.read_text(), "paste what `python -m minicloud.config` prints"


def test_config_import_leaves_yaml_and_the_servers_alone() -> None:
    code = "import sys, minicloud.config; print({'yaml', 'trio', 'quart', 'structlog'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == "set()"
