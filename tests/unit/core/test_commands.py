"""Malformed commands are refused. A refusal names what is wrong and what would be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.core.commands import (
    MAX_METADATA_BYTES,
    MAX_METADATA_ENTRIES,
    MAX_REASON_CHARS,
    Cordon,
    Drain,
    Register,
    Uncordon,
    check_endpoint,
    check_worker_id,
)
from minicloud.core.errors import InvalidError
from minicloud.core.model import WorkerId

GENERATED = WorkerId("generated")


@pytest.mark.parametrize(
    "worker_id",
    [
        "a",
        "0",
        "-",
        "_",
        "...",
        ".a",
        "worker-1",
        "A.b_C-9",
        "a" * 128,
        "stats-1",
        "Stats",
        "HEALTHY",
        "healthy.",
    ],
)
def test_worker_id_of_allowed_characters_is_taken(worker_id: str) -> None:
    assert check_worker_id(worker_id) == worker_id


@pytest.mark.parametrize(
    ("worker_id", "told"),
    [
        ("", "1 to 128 of the characters"),
        ("a" * 129, "1 to 128 of the characters"),
        ("worker 1", "A-Z a-z 0-9 . _ -"),
        ("worker-1\n", "'worker-1\\n'"),
        ("\nworker-1", "is not valid"),
        ("a/b", "is not valid"),
        ("wörker", "is not valid"),
        ("worker-١", "is not valid"),  # an Arabic-Indic digit one
        ("a\0", "is not valid"),
        ("stats", "'stats' is reserved: choose another"),
        ("healthy", "'healthy' is reserved: choose another"),
        (".", "is reserved"),
        ("..", "is reserved"),
        ("x" * 10_000, "..."),
    ],
)
def test_worker_id_that_is_not_allowed_is_refused_with_what_would_be_right(worker_id: str, told: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_worker_id(worker_id)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "endpoint",
    [
        "10.0.0.7:9091",
        "localhost:1",
        "worker-1.cluster.internal:65535",
        "my_service:80",
        "h:00080",
        "bücher.example:9091",
        "[::]:9091",
        "[::1]:9091",
        "[fd00::7]:9091",
        "[2001:db8:0:0:0:0:0:1]:443",
        "[::ffff:10.0.0.7]:9091",
        "[fe80::1%eth0]:9091",
        "[fe80::1%br-lan.100]:9091",
        "h" * 255 + ":65535",
    ],
)
def test_endpoint_of_host_and_port_is_taken_unchanged(endpoint: str) -> None:
    assert check_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost", "localhost:", ":9091", "localhost:0", "localhost:00000", "localhost:65536",
        "localhost:99999", "localhost:123456", "localhost:-1", "localhost:+1", "localhost:9091 ",
        " localhost:9091", "local host:9091", "localhost:90 91", "localhost:９０９１", "localhost:٩٠٩١",
        "localhost:9091\n", "host\u00a0name:9091", "host\u2003name:9091", "host\x1b[31m:9091", "host\0:9091",
        "http://localhost:9091", "localhost:9091/path", "user@localhost:9091", "host?x:9091", "a,b:9091",
        "fd00::7:9091", "[fd00::7]", "[fd00::7]9091", "[fd00::7:9091", "fd00::7]:9091", "[]:9091",
        "[localhost]:9091", "[10.0.0.7]:9091", "[fd00::g]:9091", "[fe80::1%]:9091", "[fe80::1%a b]:9091",
        "h" * 256 + ":65535", "h" * 1_000_000, "1:" * 500_000,
    ],
)  # fmt: skip
def test_endpoint_that_is_not_host_and_port_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_endpoint(endpoint)
    text = str(caught.value)
    assert "10.0.0.7:9091" in text
    assert "\n" not in text
    assert len(text) < 250


def test_endpoint_missing_is_said_to_be_missing() -> None:
    with pytest.raises(InvalidError, match=r"endpoint is missing: give the host:port"):
        check_endpoint("")


@given(
    st.builds(
        "{}{}".format, st.text(max_size=20), st.sampled_from(["", ":0", ":1", ":65535", ":65536", "]:1"])
    )
)
def test_endpoint_of_any_text_is_taken_or_refused_in_one_printable_line(endpoint: str) -> None:
    refusal = ""
    try:
        assert check_endpoint(endpoint) == endpoint
    except InvalidError as error:
        refusal = str(error)
    if refusal:
        assert refusal.isprintable()
    else:
        assert endpoint.isprintable()
        assert not any(character.isspace() for character in endpoint)
        assert 1 <= int(endpoint.rpartition(":")[2]) <= 65535


@pytest.mark.parametrize(
    ("endpoint", "worker_id", "instance_id"),
    [("h", "w", ""), ("h:1", "not valid", ""), ("h:1", "w", "i" * 129)],
)
def test_register_refuses_what_is_malformed_in_any_of_its_fields(
    endpoint: str, worker_id: str, instance_id: str
) -> None:
    with pytest.raises(InvalidError):
        Register(endpoint, GENERATED, worker_id, instance_id)
    Register("h:1", GENERATED)
    Register("h:1", GENERATED, "w", "i" * 128)


@pytest.mark.parametrize("operate", [Cordon, Uncordon, Drain])
def test_operator_command_refuses_a_reason_that_is_too_long(
    operate: type[Cordon | Uncordon | Drain],
) -> None:
    operate("w", "ä" * MAX_REASON_CHARS)
    with pytest.raises(InvalidError, match="reason has 257 characters: use 256 at most"):
        operate("w", "ä" * (MAX_REASON_CHARS + 1))


def test_register_with_the_largest_metadata_is_taken_and_one_more_refused() -> None:
    entries = {f"k{number:02}": "v" for number in range(MAX_METADATA_ENTRIES)}
    Register("h:1", GENERATED, metadata=entries)
    with pytest.raises(InvalidError, match=r"65 entries .*: use 64 and 4096 at most"):
        Register("h:1", GENERATED, metadata={**entries, "one-more": ""})
    Register("h:1", GENERATED, metadata={"key": "v" * (MAX_METADATA_BYTES - 3)})
    for one_byte_more in ({"key": "v" * (MAX_METADATA_BYTES - 2)}, {"k" * (MAX_METADATA_BYTES + 1): ""}):
        with pytest.raises(InvalidError, match="4097 bytes"):
            Register("h:1", GENERATED, metadata=one_byte_more)


def test_register_counts_metadata_in_bytes_not_characters() -> None:
    with pytest.raises(InvalidError, match="4098 bytes"):
        Register("h:1", GENERATED, metadata={"ä": "ö" * (MAX_METADATA_BYTES // 2)})
