"""An address is one text and two values, and has the properties of its host."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.core.commands import check_endpoint
from minicloud.net.address import (
    Address,
    family_of,
    ip_of,
    is_loopback,
    is_wildcard,
    of_socket,
    parse_address,
    parse_host,
    reached_by,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.7:9090", "10.0.0.7", 9090),
        ("[fd00::7]:9090", "fd00::7", 9090),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("[::ffff:10.0.0.7]:65535", "::ffff:10.0.0.7", 65535),
        ("cp-1.example.com:80", "cp-1.example.com", 80),
        ("worker_1:80", "worker_1", 80),
        ("bücher.example:80", "bücher.example", 80),
    ],
)
def test_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port) == (host, port)
    assert str(parse_address(text)) == text == f"{Address(host, port)}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", ":80", "host:", "host:0", "host:65536", "host:x", "host:80:90", "host:８０"),
        *("fd00::7:9090", "[fd00::7]", "[fd00::7]:", "[::::]:80", "[fd00::7%]:80", "[fe80::1%e/0]:80"),
        *("[host]:80", "[10.0.0.7]:80", "256.1.1.1:80", "1.2.3.4.5:80", "a b:80", f"{'é' * 300}:80"),
        *(".é..é.:80", "a..b:80", f"{'a' * 64}.example:80", "http://host:80"),
    ],
)
def test_address_that_is_none_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not host:port: give e\.g\. 10\.0\.0\.7:9091 or \[fd00::7\]"):
        parse_address(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_address_of_any_ip_survives_writing_and_is_an_endpoint(ip: object, port: int) -> None:
    address = Address(str(ip), port)
    assert parse_address(str(address)) == address
    assert check_endpoint(str(address)) == str(address)


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("fd00::7", "[fd00::7]:9090"),
        ("fe80::1%eth0", "[fe80::1]:9090"),
        ("10.0.0.7", "10.0.0.7:9090"),
        ("cp", "cp:9090"),
        ("bücher.example", "xn--bcher-kva.example:9090"),
    ],
)
def test_authority_has_brackets_no_zone_and_is_ascii(host: str, authority: str) -> None:
    assert Address(host, 9090).authority == authority


@pytest.mark.parametrize(
    ("text", "host"),
    [("[::1]", "::1"), ("::1", "::1"), ("cp", "cp"), ("10.0.0.7", "10.0.0.7"), ("fe80::1%2", "fe80::1%2")],
)
def test_host_has_no_brackets(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize("text", ["", "[cp]", "[::1", "::1]", "10.0.0.1:80", "[::1]:80", "a b", "999.0.0.1"])
def test_host_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        parse_host(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("w1.localhost", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("fe80::1%lo", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "wildcard", "by"),
    [
        ("0.0.0.0", True, ("127.0.0.1",)),
        ("::", True, ("::1", "127.0.0.1")),
        ("0:0:0:0:0:0:0:0", True, ("::1", "127.0.0.1")),
        ("::ffff:0.0.0.0", True, ("127.0.0.1",)),
        ("127.0.0.1", False, ("127.0.0.1",)),
        ("cp", False, ("cp",)),
    ],
)
def test_wildcard_is_reached_by_the_loopback_of_its_families(
    host: str, wildcard: bool, by: tuple[str, ...]
) -> None:
    assert is_wildcard(host) is wildcard
    assert reached_by(host) == by


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("10.0.0.7", socket.AF_INET),
        ("::ffff:10.0.0.7", socket.AF_INET),
        ("fd00::7", socket.AF_INET6),
        ("fe80::1%eth0", socket.AF_INET6),
        ("cp", None),
    ],
)
def test_family_is_that_of_the_packets(host: str, family: socket.AddressFamily | None) -> None:
    assert family_of(host) is family
    assert (ip_of(host) is None) is (family is None)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("10.0.0.7", 80), "10.0.0.7:80"),
        (("fd00::7", 80, 0, 0), "[fd00::7]:80"),
        (("::ffff:10.0.0.7", 80, 0, 0), "10.0.0.7:80"),
        (("fe80::1%lo", 80, 0, 1), "[fe80::1%lo]:80"),
    ],
)
def test_socket_name_is_shown_as_an_address(name: tuple[object, ...], address: str) -> None:
    assert str(of_socket(name)) == address
