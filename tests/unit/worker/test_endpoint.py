"""Which address a worker tells others."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from minicloud.core.commands import check_endpoint
from minicloud.core.errors import ConfigError
from minicloud.net.address import Address, parse_address
from minicloud.worker.control_plane import ControlPlaneError
from minicloud.worker.endpoint import endpoint_finder, local_address_towards

PLANES = [Address("10.0.0.1", 9090)]


class FakeRoute:
    """Ways by host; one that is an OSError leads nowhere."""

    def __init__(self, **ways: str | OSError) -> None:
        self.ways = ways
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> str:
        self.asked.append((host, port))
        way = self.ways[host.replace(".", "_").replace(":", "_")]
        if isinstance(way, OSError):
            raise way
        return way


@pytest.mark.parametrize(
    ("advertise", "bind_host", "found"),
    [
        ("w.example.com:80", "0.0.0.0", "w.example.com:80"),
        ("[fd00::7]:9091", "127.0.0.1", "[fd00::7]:9091"),
        ("", "10.0.0.7", "10.0.0.7:9091"),
        ("", "fd00::7", "[fd00::7]:9091"),
        ("", "worker-7", "worker-7:9091"),
        ("", "0.0.0.0", "192.168.1.5:9091"),
        ("", "::", "192.168.1.5:9091"),
        ("", "", "192.168.1.5:9091"),
        ("", "127.0.0.1", "127.0.0.1:9091"),
    ],
)
async def test_endpoint_is_advertised_else_bound_else_routed(
    advertise: str, bind_host: str, found: str
) -> None:
    find = endpoint_finder(advertise, bind_host, 9091, PLANES, FakeRoute(**{"10_0_0_1": "192.168.1.5"}))
    assert await find() == found
    assert check_endpoint(found) == found


async def test_endpoint_routed_over_ipv6_is_in_brackets() -> None:
    route = FakeRoute(fd00__1="fd00::7")
    find = endpoint_finder("", "::", 9091, [parse_address("[fd00::1]:9090")], route)
    assert await find() == "[fd00::7]:9091"
    assert route.asked == [("fd00::1", 9090)]


async def test_endpoint_without_a_way_to_the_first_control_plane_takes_the_next() -> None:
    route = FakeRoute(a=OSError(101, "Network is unreachable"), b="10.0.0.8")
    assert (
        await endpoint_finder("", "0.0.0.0", 9091, [parse_address("a:1"), parse_address("b:2")], route)()
        == "10.0.0.8:9091"
    )


async def test_endpoint_without_any_way_is_an_error_until_there_is_one() -> None:
    route = FakeRoute(a=OSError(101, "Network is unreachable"), b=OSError(-2, "Name or service not known"))
    find = endpoint_finder("", "0.0.0.0", 9091, [parse_address("a:1"), parse_address("b:2")], route)
    with pytest.raises(ControlPlaneError) as caught:
        await find()
    assert "a:1: Network is unreachable; b:2: Name or service not known" in str(caught.value)
    route.ways["a"] = "10.0.0.9"
    assert await find() == "10.0.0.9:9091"


@pytest.mark.parametrize(
    "advertise", ["worker", "worker:0", "worker:99999", "fd00::7:9091", "0.0.0.0:9091", "[::]:9091", "a b:1"]
)
def test_endpoint_advertised_that_nobody_can_reach_is_a_config_error(advertise: str) -> None:
    with pytest.raises(ConfigError, match="--advertise"):
        endpoint_finder(advertise, "0.0.0.0", 9091, PLANES)


@pytest.mark.parametrize(
    ("planes", "warned"),
    [
        (["localhost:9090"], False),
        (["127.0.0.1:9090", "[::1]:9090"], False),
        (["cp.example.com:9090"], True),
        (["localhost:9090", "10.0.0.1:9090"], True),
    ],
)
def test_endpoint_on_loopback_for_a_control_plane_elsewhere_is_warned_of(
    planes: list[str], warned: bool
) -> None:
    with capture_logs() as logs:
        endpoint_finder("", "127.0.0.1", 9091, [parse_address(plane) for plane in planes])
    assert [entry["event"] for entry in logs] == (["endpoint_is_loopback"] if warned else [])


async def test_local_address_towards_loopback_is_loopback() -> None:
    assert await local_address_towards("127.0.0.1", 9) == "127.0.0.1"


async def test_local_address_towards_what_is_no_host_name_is_a_control_plane_error() -> None:
    find = endpoint_finder("", "0.0.0.0", 9091, [parse_address("a..b:9090")])
    with pytest.raises(ControlPlaneError, match=r"a\.\.b:9090"):
        await find()
