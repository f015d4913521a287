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
    return None if value is None else file.expanded(value)


def test_file_of_a_deployment_gives_its_values(tmp_path: Path) -> None:
    file = read(tmp_path, DEPLOYED, {"CONTROL_PLANE_ENDPOINT": "cp:9000"})
    assert got(file, "minicloud.worker.id") == "worker-1"
    assert got(file, "grpc.client.control-plane.address") == "cp:9000"
    assert got(file, "grpc.server.port") == "9091"
    assert got(file, "minicloud.worker.zone") is None
    assert file.warnings == ()


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
        ("minicloud:\n  worker:\n    qqq: 1", ":3: unknown key minicloud.worker.qqq: known there: "),
        ("grpc:\n  server:\n    prot: 1", ":3: unknown key grpc.server.prot: did you mean grpc.server.port?"),
        ("grpc:\n  sever:\n    port: 1", ":2: unknown key grpc.sever: did you mean grpc.server?"),
        ("grpc.port: 1", ":1: unknown key grpc.port: did you mean grpc.server.port?"),
        (
            "grpc:\n  server:\n    reflectionEnabled: no",
            ":3: unknown key grpc.server.reflectionEnabled: did you mean grpc.server.",
        ),
        (
            "grpc:\n  client:\n    contrl-plane:\n      address: a:1",
            ":3: unknown key grpc.client.contrl-plane: did you mean grpc.client.control-plane?",
        ),
        (
            "grpc.client.controlplan.address: a:1",
            ":1: unknown key grpc.client.controlplan.address: did you mean grpc.client.control-plane?",
        ),
        (
            "grpc.client.control-plane.adress: a:1",
            ":1: unknown key grpc.client.control-plane.adress: "
            "did you mean grpc.client.control-plane.address?",
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
        ("a: 1\n---\nb: [2", r"app\.yml:3: not YAML"),
        ("a: 1\n---\njust text", r"app\.yml:3: not a mapping"),
        ("a: 1\n---\nminicloud: {wrkr: 1}", r"app\.yml:3: unknown key minicloud\.wrkr"),
        ("a:\n  <<: text", r"app\.yml:2: << takes a mapping"),
        ("a:\n  <<: [{b: 1}, 2]", r"app\.yml:2: << takes a mapping"),
        ("a: &a\n  <<: *a", r"app\.yml:2: << merges a mapping into itself"),
        ("a: &a\n  b: {<<: *a}", r"app\.yml:2: a\.b\.b.* holds itself|merges a mapping into itself"),
        ("x: 1\n---\nspring.profiles: (a", r"app\.yml:3: spring\.profiles: '\(a' is no condition"),
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


def test_file_merges_that_multiply_without_end_are_refused(tmp_path: Path) -> None:
    lines = ["l0: &l0 {}"]
    lines += [f"l{level}: &l{level} {{<<: [{', '.join([f'*l{level - 1}'] * 9)}]}}" for level in range(1, 9)]
    with pytest.raises(ConfigError, match="over 10000 values"):
        read(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # A value that is written out wins over a merged one, wherever the merge key stands.
        ("c: &c {port: 1, address: a}\ngrpc: {server: {<<: *c, port: 2}}", ("2", "a")),
        ("c: &c {port: 1, address: a}\ngrpc: {server: {port: 2, <<: *c}}", ("2", "a")),
        ("c: &c {PORT: 1, address: a}\ngrpc: {server: {port: 2, <<: *c}}", ("2", "a")),
        # The first of several merged mappings wins.
        ("c: &c {port: 1}\nd: &d {port: 2, address: b}\ngrpc: {server: {<<: [*c, *d]}}", ("1", "b")),
        # A merged mapping may merge another.
        ("c: &c {port: 1}\nd: &d {<<: *c, address: b}\ngrpc: {server: {<<: *d}}", ("1", "b")),
        # Whole trees are merged: a mapping that is written out is not joined with the merged one.
        ("c: &c {server: {port: 1, address: a}}\ngrpc: {<<: *c, server: {port: 2}}", ("2", None)),
        ("c: &c {server: {port: 1, address: a}}\ngrpc: {<<: *c}", ("1", "a")),
        # This is at the top, and beside the same key in its dotted form.
        ("c: &c {grpc: {server: {port: 1}}}\n<<: *c", ("1", None)),
        ("c: &c {server: {port: 1}}\ngrpc: {<<: *c}\ngrpc.server.port: 2", ("2", None)),
        ("grpc.server.port: 2\nc: &c {server: {port: 1}}\ngrpc: {<<: *c}", ("2", None)),
        # In quotes it is a key like any other.
        ('c: {"<<": 1}\ngrpc: {server: {port: 2}}', ("2", None)),
    ],
)
def test_file_merge_keys_are_resolved(
    tmp_path: Path, text: str, values: tuple[str | None, str | None]
) -> None:
    file = read(tmp_path, text)
    assert (got(file, "grpc.server.port"), got(file, "grpc.server.address")) == values


PROFILES = """grpc: {server: {port: 1}}
---
spring: {config: {activate: {on-profile: CONDITION}}}
grpc: {server: {port: 2}}
"""


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("---\ngrpc.server.port: 1", "1"),
        ("grpc.server.port: 1\n---\n", "1"),
        ("grpc.server.port: 1\n---", "1"),
        ("grpc.server.port: 1\n...\n", "1"),
        ("%YAML 1.1\n---\ngrpc.server.port: 1\n...\n---\n# nothing\n", "1"),
        ("grpc: {server: {port: 1, address: a}}\n---\ngrpc.server.port: 2", "2"),
        ("grpc.server.port: 1\n---\nspring.application.name: x", "1"),
        ("a: &a {port: 1}\n---\ngrpc.server.port: 3", "3"),
    ],
)
def test_file_of_several_documents_later_ones_win(tmp_path: Path, text: str, port: str) -> None:
    assert got(read(tmp_path, text), "grpc.server.port") == port


@pytest.mark.parametrize(
    ("condition", "active", "port"),
    [
        ("prod", "", "1"),
        ("default", "", "2"),
        ("prod", "prod", "2"),
        ("prod", "dev, prod", "2"),
        ('"prod, dev"', "dev", "2"),
        ("[prod, dev]", "dev", "2"),
        ('"!prod"', "dev", "2"),
        ('"!prod"', "prod", "1"),
        ("prod & eu", "prod", "1"),
        ("prod & eu", "prod,eu", "2"),
        ("prod & !eu", "prod", "2"),
        ("prod | eu", "eu", "2"),
    ],
)
def test_file_document_for_a_profile_counts_where_that_is_active(
    tmp_path: Path, condition: str, active: str, port: str
) -> None:
    file = read(
        tmp_path,
        PROFILES.replace("CONDITION", condition),
        {"SPRING_PROFILES_ACTIVE": active} if active else {},
    )
    assert got(file, "grpc.server.port") == port
    inactive = [warning for warning in file.warnings if "profiles that are not active" in warning]
    assert len(inactive) == (port == "1")


def test_file_may_name_its_active_profiles_itself(tmp_path: Path) -> None:
    text = "spring.profiles.active: prod\n---\n" + PROFILES.replace("CONDITION", "prod")
    assert got(read(tmp_path, text), "grpc.server.port") == "2"
    assert got(read(tmp_path, text, {"SPRING_PROFILES_ACTIVE": "dev"}), "grpc.server.port") == "1"


def test_file_document_for_another_profile_may_hold_anything(tmp_path: Path) -> None:
    file = read(tmp_path, "grpc.server.port: 1\n---\nspring.profiles: test\nminicloud.workers: 1")
    assert file.warnings[-1].endswith("documents for profiles that are not active: test (line 3)")


STARTER = """grpc:
  server:
    port: 9091
    address: "*"
    reflection-service-enabled: false
    max-inbound-message-size: 4MB
    maxConnectionAge: 30m
    keep_alive_time: 2h
    health-service-enabled: true
    enable-keep-alive: true
    in-process-name: test
    security: {enabled: false, certificate-chain: "file:a.crt"}
  client:
    GLOBAL: {negotiationType: plaintext, enableKeepAlive: true}
    inventory: {address: "static://inventory:9090", negotiation-type: tls}
    control-plane:
      address: static://cp:9090
      negotiationType: PLAINTEXT
      enable-keep-alive: true
      security: {authority-override: cp}
    control-plane-2: {address: "static://other:9090"}
minicloud.worker.zone: ${grpc.client.inventory.address}
"""


def test_file_of_a_service_with_the_starter_is_read_with_one_warning_for_the_rest(tmp_path: Path) -> None:
    file = read(tmp_path, STARTER)
    assert got(file, "grpc.client.control-plane.address") == "static://cp:9090"
    assert got(file, "grpc.server.reflection-service-enabled") == "false"
    assert got(file, "minicloud.worker.zone") == "static://inventory:9090"
    (warning,) = file.warnings
    assert "settings of the gRPC starter that do nothing here: " in warning
    for key in (
        "grpc.server.max-inbound-message-size (line 6)",
        "grpc.server.maxConnectionAge (line 7)",
        "grpc.server.security.certificate-chain (line 12)",
        "grpc.client.GLOBAL.enableKeepAlive (line 14)",
        "grpc.client.inventory (line 15)",
    ):
        assert key in warning
    assert warning.count("(line") == 12
    assert not any(f"{known} (" in warning for known in ("port", "address", "negotiationType"))


def test_file_warning_of_very_many_keys_has_a_bound(tmp_path: Path) -> None:
    text = "\n".join(f"grpc.client.service-{number}.address: a:1" for number in range(40))
    (warning,) = read(tmp_path, text).warnings
    assert warning.endswith(" and 28 more")


def test_file_key_of_another_starter_is_a_warning(tmp_path: Path) -> None:
    """LogNet's starter has other names, and so may one that is not written yet."""
    file = read(tmp_path, "grpc: {enabled: true, netty-server: {keep-alive-time: 1s}, qqq: 1}")
    (warning,) = file.warnings
    assert warning.endswith("here: grpc.enabled (line 1), grpc.netty-server (line 1), grpc.qqq (line 1)")


def test_file_elements_of_a_list_can_be_named(tmp_path: Path) -> None:
    text = "peers: [cp-1:9090, cp-2:9090]\nminicloud.control-plane.endpoint: ${peers[1]}"
    assert got(read(tmp_path, text), "minicloud.control-plane.endpoint") == "cp-2:9090"


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
    (warning,) = file.warnings
    assert warning.endswith("not MiniCloud's: spring (line 1), server (line 2), logging (line 3)")
    assert got(file, "minicloud.worker.id") == "w-8081"


@given(st.text(alphabet=st.sampled_from("ab:-{}[]\"'\n\t #&*!|>?%@$~.1<"), max_size=60))
def test_file_whatever_it_holds_fails_with_a_config_error_alone(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_text("minicloud:\n  worker:\n    " + text)
    message = ""
    try:
        got(read_config_file(path, KNOWN_KEYS, {}), "minicloud.worker.id")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
