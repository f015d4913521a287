"""A worker finds its own address for others, and warns of one that leads nowhere (DESIGN 53)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from random import Random

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.core.commands import check_endpoint
from minicloud.net.address import Address
from minicloud.worker.control_plane import ControlPlaneError
from minicloud.worker.endpoint import EndpointFinder, address_towards_others
from minicloud.worker.endpoint_check import EndpointCheck
from tests.networks import needs_ipv6
from tests.unit.rpc.support import make_server
from tests.unit.worker.fakes import events


class Connection:
    """A `Connection` stands in for the one to the control plane: its local address, None without one, or an
    error."""

    def __init__(self, local: str | ControlPlaneError | None) -> None:
        self.local = local

    async def __call__(self) -> Address | None:
        if isinstance(self.local, ControlPlaneError):
            raise self.local
        return None if self.local is None else Address(self.local, 40_000)


async def outward(family: socket.AddressFamily) -> str | None:
    return {socket.AF_INET: "192.168.1.5", socket.AF_INET6: "fd00::5"}[family]


async def nowhere(family: socket.AddressFamily) -> str | None:
    return None


def finder(
    advertise: str = "",
    hosts: Sequence[str] = ("0.0.0.0",),
    bound: Sequence[str] = (),
    connection: Connection | None = None,
    *,
    way_out: bool = True,
) -> EndpointFinder:
    return EndpointFinder(
        advertise,
        hosts,
        [Address(host, 9091) for host in bound or hosts],
        connection or Connection("10.0.0.7"),
        outward if way_out else nowhere,
    )


@pytest.mark.parametrize(
    ("advertise", "host", "found"),
    [
        ("w.example.com:80", "0.0.0.0", "w.example.com:80"),
        ("[fd00::7]:9091", "127.0.0.1", "[fd00::7]:9091"),
        ("", "10.0.0.9", "10.0.0.9:9091"),
        ("", "fd00::9", "[fd00::9]:9091"),
        ("", "127.0.0.1", "127.0.0.1:9091"),
        ("", "worker-7", "worker-7:9091"),
        ("", "0.0.0.0", "10.0.0.7:9091"),
        ("", "::", "10.0.0.7:9091"),
    ],
)
async def test_endpoint_is_advertised_else_the_only_host_else_the_connections_own_address(
    advertise: str, host: str, found: str
) -> None:
    bound = {"worker-7": ["10.1.1.1"], "::": ["::", "0.0.0.0"]}.get(host, [host])
    endpoint = await finder(advertise, [host], bound)()
    assert endpoint == found
    assert check_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    ("bound", "local", "found"),
    [
        # The address of the connection is listened on.
        (["0.0.0.0"], "10.0.0.7", "10.0.0.7:9091"),
        (["::", "0.0.0.0"], "fd00::7", "[fd00::7]:9091"),
        (["127.0.0.1", "10.0.0.7"], "10.0.0.7", "10.0.0.7:9091"),
        # It is not, so the worker takes the way out of the family that is.
        (["0.0.0.0"], "fd00::7", "192.168.1.5:9091"),
        (["::"], "10.0.0.7", "[fd00::5]:9091"),
        (["0.0.0.0"], "::1", "127.0.0.1:9091"),
        (["::"], "127.0.0.1", "[::1]:9091"),
        # It is not, and there are several to choose from.
        (["127.0.0.1", "10.0.0.8"], "10.0.0.7", "10.0.0.8:9091"),
        (["127.0.0.1", "10.0.0.8"], "fd00::7", "10.0.0.8:9091"),
        (["fd00::8", "10.0.0.8"], "10.0.0.7", "10.0.0.8:9091"),
        (["10.0.0.8", "fd00::8"], "fd00::7", "[fd00::8]:9091"),
        (["10.0.0.8", "127.0.0.2"], "::1", "127.0.0.2:9091"),
        (["127.0.0.1", "127.0.0.2"], "10.0.0.7", "127.0.0.1:9091"),
    ],
)
async def test_endpoint_is_one_that_is_listened_on_and_nearest_to_the_connection(
    bound: list[str], local: str, found: str
) -> None:
    hosts = ["::"] if "::" in bound else bound if len(bound) > 1 else ["0.0.0.0"]
    assert await finder("", hosts, bound, Connection(local))() == found


async def test_endpoint_without_a_way_out_of_its_family_is_on_loopback() -> None:
    assert await finder("", connection=Connection("fd00::7"), way_out=False)() == "127.0.0.1:9091"


async def test_endpoint_follows_the_connection() -> None:
    connection = Connection("10.0.0.7")
    find = finder(connection=connection)
    assert await find() == "10.0.0.7:9091"
    connection.local = "10.0.0.8"
    assert await find() == "10.0.0.8:9091"


async def test_endpoint_that_is_fixed_needs_no_connection() -> None:
    away = Connection(ControlPlaneError("cp:9090: away"))
    assert await finder("w:1", connection=away)() == "w:1"
    assert await finder("", ["10.0.0.9"], connection=away)() == "10.0.0.9:9091"
    with pytest.raises(ControlPlaneError, match="cp:9090: away"):
        await finder(connection=away)()


async def test_address_towards_others_is_of_the_family_that_was_asked_for() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        found = await address_towards_others(family)
        assert found is None or (":" in found) is (family is socket.AF_INET6)


# The check


async def checked(endpoint: str, local: str | ControlPlaneError | None = "10.0.0.7") -> list[str]:
    """Return the warnings about `endpoint`."""
    with capture_logs() as logs:
        await EndpointCheck(Connection(local), Random(1))(endpoint)
    return [line["event"] for line in logs if line["log_level"] == "warning"]


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
async def test_endpoint_on_loopback_for_a_control_plane_elsewhere_is_warned_of(endpoint: str) -> None:
    assert await checked(endpoint, "10.0.0.7") == ["endpoint_is_loopback"]


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_endpoint_that_answers_is_passed(host: str) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    endpoint = Address(host, listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(make_server({}).serve, [listener])
        assert await checked(str(endpoint), "127.0.0.1") == []
        nursery.cancel_scope.cancel()


async def test_endpoint_that_nothing_listens_at_is_warned_of_with_a_remedy(autojump_clock: MockClock) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    endpoint = str(Address("127.0.0.1", listener.socket.getsockname()[1]))
    await listener.aclose()
    with capture_logs() as logs:
        await EndpointCheck(Connection(None), Random(1))(endpoint)
    (line,) = events(logs, "endpoint_unreachable")
    assert (line["log_level"], line["endpoint"]) == ("warning", endpoint)
    assert "Connection refused" in line["error"]
    assert "--advertise" in line["remedy"]


async def test_endpoint_that_answers_after_a_moment_is_passed() -> None:
    (reserved,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = reserved.socket.getsockname()[1]
    await reserved.aclose()

    async def come_up() -> None:
        await trio.sleep(0.2)
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        await make_server({}).serve(listeners)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_up)
        assert await checked(f"127.0.0.1:{port}", None) == []
        nursery.cancel_scope.cancel()


async def test_endpoint_is_not_called_loopback_while_the_connection_is_away(
    autojump_clock: MockClock,
) -> None:
    away = ControlPlaneError("cp:9090: away")
    assert await checked("127.0.0.1:1", away) == ["endpoint_unreachable"]
