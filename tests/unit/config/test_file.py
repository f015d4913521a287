from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.config.file import ConfigFile, read_config_file
from minicloud.config.table import KNOWN_KEYS
from minicloud.core.errors import ConfigError

DEPLOYED = """\
minicloud:
  worker:
    id: ${WORKER_ID:worker-1} # Optional: requested worker ID
  control-plane:
    endpoint: ${CONTROL_PLANE_ENDPOINT:localhost:9090}

grpc:
  server:
    port: 9091 # Worker gRPC port
    enable-reflection: true
  client:
    control-plane:
      address: ${minicloud.control-plane.endpoint}
      negotiation-type: plaintext
"""


def read(tmp_path: Path, text: str | bytes, env: dict[str, str] | None = None) -> ConfigFile:
    path = tmp_path / "app.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config_file(path, KNOWN_KEYS, env or {})


def got(file: ConfigFile, key: str) -> str | None:
    value = file.get(key)
    return None if value is None else value.text


def test_file_of_a_deployment_gives_its_values(tmp_path: Path) -> None:
    file = read(tmp_path, DEPLOYED, {"CONTROL_PLANE_ENDPOINT": "cp:9000"})
    assert got(file, "minicloud.worker.id") == "worker-1"
    assert got(file, "grpc.client.control-plane.address") == "cp:9000"
    assert got(file, "grpc.server.port") == "9091"
    assert got(file, "minicloud.worker.zone") is None
    assert file.warning == ""


@pytest.mark.parametrize(
    "text",
    [
        "grpc: {server: {enable-reflection: yes}}",
        "grpc: {server: {enableReflection: yes}}",
        "grpc: {server: {enable_reflection: yes}}",
        "GRPC: {Server: {ENABLE_REFLECTION: yes}}",
        "grpc.server.enable-reflection: yes",
        "grpc: {server.enableReflection: yes}",
        "\ufeffgrpc.server.enable-reflection: yes",
        "x: &r\n  enable-reflection: yes\ngrpc:\n  server: *r",
    ],
)
def test_file_key_in_any_spelling_is_one_key(tmp_path: Path, text: str) -> None:
    assert got(read(tmp_path, text), "grpc.server.enable-reflection") == "yes"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("minicloud: {worker: {id: 007}}", "007"),
        ("minicloud: {worker: {id: no}}", "no"),
        ('minicloud: {worker: {id: ""}}', ""),
        ("minicloud: {worker: {id: }}", None),
        ("minicloud: {worker: {id: ~}}", None),
        ("minicloud: {worker: }", None),
        ("minicloud: {worker: {id: [a, b]}}", "a,b"),
        ("", None),
        ("# nothing\n", None),
    ],
)
def test_file_scalar_is_kept_as_written(tmp_path: Path, text: str, value: str | None) -> None:
    assert got(read(tmp_path, text), "minicloud.worker.id") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "minicloud:\n  control-plane:\n    heartbeat-intervall: 5s",
            ":3: unknown key minicloud.control-plane.heartbeat-intervall: "
            "did you mean minicloud.control-plane.heartbeat-interval?",
        ),
        (
            "minicloud:\n  workers:\n    id: a",
            ":2: unknown key minicloud.workers: did you mean minicloud.worker?",
        ),
        (
            "minicloud:\n  heartbeatTimeout: 5s",
            ":2: unknown key minicloud.heartbeatTimeout: "
            "did you mean minicloud.control-plane.heartbeat-timeout?",
        ),
        (
            "minicloud:\n  worker:\n    port: 1",
            ":3: unknown key minicloud.worker.port: did you mean grpc.server.port?",
        ),
        (
            "grpc:\n  server:\n    qqq: 1",
            ":3: unknown key grpc.server.qqq: known there: "
            "grpc.server.address, grpc.server.port, grpc.server.enable-reflection",
        ),
        (
            "grpc: {server: {security: {enabled: true}}}",
            ":1: unknown key grpc.server.security: known there: "
            "grpc.server.address, grpc.server.port, grpc.server.enable-reflection",
        ),
        ("minicloud:\n  worker: w-1", ":2: minicloud.worker takes keys of its own: minicloud.worker.id, "),
        (
            "grpc:\n  server:\n    port:\n      of: 1",
            ":3: grpc.server.port takes one value, not keys of its own",
        ),
        ("grpc:\n  server:\n    port: [[1]]", ":3: grpc.server.port takes a value, or a list of plain ones"),
    ],
)
def test_file_unknown_or_misplaced_key_names_it_its_line_and_the_nearest(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert f"{tmp_path}/app.yml{message}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "grpc:\n  server:\n    port: 1\n    port: 2",
            ":4: grpc.server.port is given twice: it is on line 3 too",
        ),
        ("grpc: {server: {port: 1, port: 1}}", "given twice"),
        ("grpc:\n  server: {port: 1}\nGRPC:\n  server: {}", ":3: GRPC is given twice: it is on line 1 too"),
        (
            "grpc.server.enableReflection: no\ngrpc:\n  server:\n    enable-reflection: yes",
            ":4: grpc.server.enable-reflection is given twice: it is on line 1 too",
        ),
        ("spring:\n  a: 1\n  a: 2", ":3: spring.a is given twice: it is on line 2 too"),
    ],
)
def test_file_key_given_twice_is_refused_with_both_lines(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grpc:\n  server: [1", r"app\.yml:2: not YAML: expected ',' or '\]'"),
        ("grpc:\n\tserver: 1", r"app\.yml:2: not YAML: .*indent with spaces"),
        ("a: b: c", r"app\.yml:1: not YAML"),
        ("a: 1\n---\nb: 2", r"app\.yml:2: a second document"),
        ("- 1", r"app\.yml:1: not a mapping"),
        ("just text", r"app\.yml:1: not a mapping"),
        ("? [a]\n: 1", r"app\.yml:1: a key must be a word"),
        ("grpc: &a\n  server: *a", r"app\.yml:2: grpc\.server holds itself|unknown key"),
        ("other: &a\n  self: *a", r"app\.yml:2: other\.self holds itself"),
        ("x: " + "[" * 600, r"app\.yml: ?\d*:? ?(nested too deeply|not YAML)"),
        ("x: " + "{a: " * 100 + "1" + "}" * 100, "nested too deeply"),
        (b"a: 1\nb: \xff", r"app\.yml:2: not UTF-8"),
        (b"a: \x00", r"app\.yml: not YAML"),
        (b"#" * (1024 * 1024 + 1), "over 1048576 bytes"),
    ],
)
def test_file_not_readable_is_one_line_that_says_where(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_file_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yml: No such file"):
        read_config_file(tmp_path / "gone.yml", KNOWN_KEYS, {})


def test_file_aliases_that_multiply_without_end_are_refused(tmp_path: Path) -> None:
    lines = ["l0: &l0 {a: 1}"]
    lines += [
        f"l{level}: &l{level} {{{', '.join(f'k{n}: *l{level - 1}' for n in range(9))}}}"
        for level in range(1, 9)
    ]
    with pytest.raises(ConfigError, match="over 10000 values"):
        read(tmp_path, "\n".join(lines))


def test_file_trees_of_other_programs_are_passed_over_in_one_warning(tmp_path: Path) -> None:
    text = """\
spring.application.name: x
server: {port: 8081}
logging:
  level: {com.example: DEBUG, com.exam-ple: INFO}
  patterns: [{a: 1}, [2]]
  1: {? [x] : y}
minicloud.worker.id: w-${server.port}
spring.main.banner-mode: off
"""
    file = read(tmp_path, text)
    assert file.warning.endswith("not MiniCloud's: spring (line 1), server (line 2), logging (line 3)")
    assert got(file, "minicloud.worker.id") == "w-8081"


@given(st.text(alphabet=st.sampled_from("ab:-{}[]\"'\n\t #&*!|>?%@$~.1"), max_size=60))
def test_file_whatever_it_holds_fails_with_a_config_error_alone(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_text("minicloud:\n  worker:\n    " + text)
    message = ""
    try:
        read_config_file(path, KNOWN_KEYS, {}).get("minicloud.worker.id")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
