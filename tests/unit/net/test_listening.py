"""A process listens on the right addresses, and reports the ones it cannot have."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from minicloud.core.errors import ConfigError, MiniCloudError, NotYetError
from minicloud.net.listening import bind_tcp
from tests.networks import Names, needs_ipv6

V4, V6 = socket.AF_INET, socket.AF_INET6


def unused_port() -> int:
    """Return a port that no program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
        return port


class Machine(trio.abc.SocketFactory):
    """A `Machine` has sockets for which binding some addresses fails with an error number.

    Everything else is a real socket; `bound` has the addresses that were bound.
    """

    def __init__(self, **fails: int) -> None:
        self.fails = fails
        self.fails_once: dict[str, int] = {}
        self.bound: list[tuple[str, int]] = []

    def socket(self, family: int = V4, type: int = 0, proto: int = 0) -> Any:
        if self.fails.get("v6") and family == V6:
            raise OSError(self.fails["v6"], "no such family")
        made = trio.socket.from_stdlib_socket(socket.socket(family, type, proto))
        bind = made.bind

        async def bind_unless_told(address: Any) -> None:
            number = self.fails_once.pop(address[0], 0) or self.fails.get(address[0], 0)
            if number:
                raise OSError(number, f"told to fail with {errno.errorcode[number]}")
            await bind(address)
            self.bound.append(made.getsockname()[:2])

        made.bind = bind_unless_told  # type: ignore[method-assign]
        return made


@contextmanager
def machine(**fails: int) -> Iterator[Machine]:
    made = Machine(**fails)
    trio.socket.set_custom_socket_factory(made)
    try:
        yield made
    finally:
        trio.socket.set_custom_socket_factory(None)


async def listening(hosts: Sequence[str], port: int = 0) -> list[tuple[str, int]]:
    """Yield the sockets that `bind_tcp` listens on, and close them again."""
    listeners = await bind_tcp(hosts, port, "gRPC", "--port")
    names = [listener.socket.getsockname()[:2] for listener in listeners]
    for listener in listeners:
        await listener.aclose()
    return names


async def refused(hosts: Sequence[str], port: int = 0) -> MiniCloudError:
    with pytest.raises(MiniCloudError) as caught:
        await bind_tcp(hosts, port, "gRPC", "--port")
    assert "\n" not in str(caught.value)
    return caught.value


async def test_several_hosts_have_one_port_that_the_system_chose() -> None:
    names = await listening(["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3"])
    assert [host for host, _ in names] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert len({port for _, port in names}) == 1


async def test_port_that_the_system_chose_and_another_has_on_one_host_is_chosen_anew() -> None:
    with machine() as made:
        made.fails_once["127.0.0.2"] = errno.EADDRINUSE
        names = await listening(["127.0.0.1", "127.0.0.2"])
    assert len({port for _, port in names}) == 1
    assert [host for host, _ in made.bound] == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]


async def test_port_that_is_free_nowhere_is_given_up() -> None:
    with machine(**{"127.0.0.2": errno.EADDRINUSE}) as made:
        error = await refused(["127.0.0.1", "127.0.0.2"])
    assert str(error).startswith("gRPC port 0 on 127.0.0.2 is in use")
    assert len(made.bound) == 20


@needs_ipv6
async def test_all_addresses_are_those_of_both_families_and_each_peer_is_seen_by_its_own() -> None:
    listeners = await bind_tcp(["::"], 0, "gRPC", "--port")
    assert [listener.socket.family for listener in listeners] == [V6, V4]
    port = listeners[0].socket.getsockname()[1]
    peers = []

    async def note(stream: trio.SocketStream) -> None:
        peers.append(stream.socket.getpeername()[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, note, listeners)
        for host in ("127.0.0.1", "::1"):
            async with await trio.open_tcp_stream(host, port) as stream:
                assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()
    assert sorted(peers) == ["127.0.0.1", "::1"]


async def test_all_ipv4_addresses_are_no_ipv6_ones() -> None:
    assert [host for host, _ in await listening(["0.0.0.0"])] == ["0.0.0.0"]


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_all_addresses_on_a_machine_without_ipv6_are_those_of_ipv4(number: int) -> None:
    fails = {"v6": number} if number == errno.EAFNOSUPPORT else {"::": number}
    with machine(**fails), capture_logs() as logs:
        assert [host for host, _ in await listening(["::"])] == ["0.0.0.0"]
    (line,) = logs
    assert (line["event"], line["host"], line["address"]) == ("address_passed_over", "::", "::")


async def test_all_addresses_where_another_program_has_the_port_in_one_family_is_refused() -> None:
    with machine(**{"0.0.0.0": errno.EADDRINUSE}):
        port = unused_port()
        error = await refused(["::"], port)
    assert isinstance(error, NotYetError)
    assert f"gRPC port {port} on :: is in use" in str(error)


@needs_ipv6
async def test_address_that_another_host_covers_is_bound_once() -> None:
    assert [host for host, _ in await listening(["::", "0.0.0.0", "127.0.0.1", "::1"])] == ["::", "0.0.0.0"]


async def test_names_address_that_this_machine_lacks_is_passed_over_with_a_line() -> None:
    trio.socket.set_custom_hostname_resolver(Names(localhost=["::1", "127.0.0.2"]))
    with machine(**{"::1": errno.EADDRNOTAVAIL}), capture_logs() as logs:
        assert [host for host, _ in await listening(["localhost"])] == ["127.0.0.2"]
    assert [(line["event"], line["address"]) for line in logs] == [("address_passed_over", "::1")]


async def test_name_of_which_no_address_is_here_is_refused_with_one_line() -> None:
    trio.socket.set_custom_hostname_resolver(Names(cp=["127.0.0.2", "127.0.0.3"]))
    gone = {"127.0.0.2": errno.EADDRNOTAVAIL, "127.0.0.3": errno.EADDRNOTAVAIL}
    with machine(**gone), capture_logs() as logs:
        error = await refused(["127.0.0.1", "cp"], 0)
    assert isinstance(error, NotYetError)
    assert "on cp: that is no address of this machine yet: give one that is with --host" in str(error)
    assert logs == []


async def test_names_address_whose_port_is_taken_is_not_passed_over() -> None:
    trio.socket.set_custom_hostname_resolver(Names(cp=["127.0.0.2", "127.0.0.3"]))
    with socket.create_server(("127.0.0.3", 0)) as taken:
        error = await refused(["cp"], taken.getsockname()[1])
    assert "on cp is in use: stop the program that has it, or choose another with --port" in str(error)


@pytest.mark.parametrize(
    ("hosts", "number", "kind", "said"),
    [
        (["127.0.0.1"], errno.EADDRINUSE, NotYetError, "is in use"),
        (["127.0.0.1"], errno.EADDRNOTAVAIL, NotYetError, "no address of this machine yet"),
        (["127.0.0.1"], errno.ENOBUFS, NotYetError, "cannot be used"),
        (["127.0.0.1"], errno.EMFILE, NotYetError, "cannot be used"),
        (["127.0.0.1"], errno.EACCES, ConfigError, "is not permitted: choose one from 1024 on with --port"),
        (["127.0.0.1"], errno.EAFNOSUPPORT, ConfigError, "no such kind of address"),
    ],
)
async def test_refusal_says_what_is_wrong_and_whether_a_retry_may_help(
    hosts: list[str], number: int, kind: type[MiniCloudError], said: str
) -> None:
    with machine(**{hosts[0]: number}):
        error = await refused(hosts, 1)
    assert type(error) is kind
    assert said in str(error)
    assert str(error).startswith("gRPC port 1 on 127.0.0.1")


async def test_name_that_does_not_resolve_yet_may_be_tried_again() -> None:
    trio.socket.set_custom_hostname_resolver(Names())
    error = await refused(["cp"])
    assert isinstance(error, NotYetError)
    assert str(error) == (
        "host 'cp' is not known (Name or service not known): "
        "give a name or an address of this machine with --host"
    )


async def test_addresses_bound_before_one_that_fails_are_let_go() -> None:
    listeners = await bind_tcp(["127.0.0.2"], 0, "gRPC", "--port")
    port = listeners[0].socket.getsockname()[1]
    await refused(["127.0.0.1", "127.0.0.2"], port)
    socket.create_server(("127.0.0.1", port)).close()
    await listeners[0].aclose()
