"""The making of a channel's connection: the ways to the server are tried, each a little after the one before.

The first way on which the server speaks HTTP/2 wins, so an address that accepts TCP connections and never
answers costs a moment and not the call (DESIGN 51). The delays follow RFC 8305 ("happy eyeballs").
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import NamedTuple, NoReturn

import trio

from minicloud.net.address import Address, ip_of
from minicloud.rpc.client_connection import ClientConnection
from minicloud.rpc.config import ChannelConfig

# The time that one attempt is alone before the next begins beside it (RFC 8305, section 8).
CONNECT_DELAY_S = 0.25
# The same for an attempt whose TCP connection exists and waits for TLS and HTTP/2. A busy server answers
# later than its kernel, and trying another address of it then only adds to its work.
HANDSHAKE_DELAY_S = 0.5

Connect = Callable[[], Awaitable[trio.abc.Stream]]
"""Makes a connected stream, TLS done. Raises OSError, UnicodeError (of a host name) or one of Trio's resource
errors where it cannot; any other exception is a fault of ours and ends the nursery."""


class Way(NamedTuple):
    """One way to the server. `key` is equal for the same way when it is found again."""

    key: Hashable
    connect: Connect


Find = Callable[[], Awaitable[Sequence[Way]]]
"""Finds the ways to a server, the best one first. Any exception is a fault of ours."""

_FAILURES = (OSError, UnicodeError, trio.BrokenResourceError, trio.ClosedResourceError)


class Connector:
    """Makes connections. `adopt` starts the tasks of a connection, which outlive the attempt."""

    def __init__(self, find: Find, config: ChannelConfig, adopt: Callable[[ClientConnection], None]) -> None:
        self._find = find
        self._config = config
        self._adopt = adopt
        self._last: Hashable = None  # the way that worked last

    async def connect(self) -> ClientConnection:
        """A connection ready for calls; the way that worked last is tried first.

        Raises OSError, whose text names every failure, where no way works.
        """
        ways = sorted(await self._find(), key=lambda way: way.key != self._last)
        race = _Race()
        async with trio.open_nursery() as nursery:
            race.scope = nursery.cancel_scope
            for way in ways:
                attempt = _Attempt()
                nursery.start_soon(self._attempt, way, attempt, race)
                if way is not ways[-1]:
                    await attempt.overtaken()
        if race.won is None:
            raise OSError("; ".join(dict.fromkeys(race.errors)) or "no address")
        return race.won

    async def _attempt(self, way: Way, attempt: _Attempt, race: _Race) -> None:
        connection = None
        try:
            with trio.move_on_after(self._config.connect_timeout_s):
                connection = ClientConnection(await way.connect(), self._config)
                self._adopt(connection)
                attempt.connected.set()
                if not await connection.ready():
                    transport = connection.transport
                    raise OSError(f"{transport.peer}: no HTTP/2 there: {transport.close_reason}")
                if race.won is None:
                    race.won, self._last = connection, way.key
                    race.scope.cancel()
                return
            peer = "" if connection is None else f"{connection.transport.peer}: "
            raise OSError(f"{peer}timed out after {self._config.connect_timeout_s:g} s")
        except _FAILURES as error:
            race.errors.append(reason(error))
        finally:
            if connection is not None and race.won is not connection:
                slower = "another way was faster" if race.won is not None else "no settings in time"
                connection.transport.close(slower)
            attempt.connected.set()
            attempt.ended.set()


class _Race:
    """The state that the attempts of one round share."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.won: ClientConnection | None = None
        self.errors: list[str] = []


class _Attempt:
    """The progress of one attempt."""

    def __init__(self) -> None:
        self.connected = trio.Event()
        self.ended = trio.Event()

    async def overtaken(self) -> None:
        """Wait until the next way shall be tried, too: for a failure, or a delay without progress."""
        with trio.move_on_after(CONNECT_DELAY_S) as scope:
            await self.connected.wait()
        if not scope.cancelled_caught:
            with trio.move_on_after(HANDSHAKE_DELAY_S):
                await self.ended.wait()


def always(connects: Sequence[Connect]) -> Find:
    """A `Find` that returns the same ways each time."""
    ways = [Way(number, connect) for number, connect in enumerate(connects)]

    async def find() -> Sequence[Way]:
        return ways

    return find


def tcp_ways(targets: Sequence[Address], config: ChannelConfig, ssl_context: ssl.SSLContext | None) -> Find:
    """The ways to every address of `targets`, whose names are looked up each time, all at once.

    A name that is not known becomes a way that fails, so that its error appears beside the other failures.
    """

    async def find() -> Sequence[Way]:
        found: list[Sequence[Way]] = [()] * len(targets)

        async def look_up(number: int, target: Address) -> None:
            found[number] = await _ways_to(target, config.connect_timeout_s, ssl_context)

        async with trio.open_nursery() as nursery:
            for number, target in enumerate(targets):
                nursery.start_soon(look_up, number, target)
        return list(chain.from_iterable(found))

    return find


async def _ways_to(target: Address, within_s: float, ssl_context: ssl.SSLContext | None) -> Sequence[Way]:
    try:
        with trio.fail_after(within_s):
            found = await trio.socket.getaddrinfo(*target, type=socket.SOCK_STREAM)
    except trio.TooSlowError:
        error = OSError(f"{target}: its name was not resolved within {within_s:g} s")
        return [Way((target, None), partial(_fail, error))]
    except (OSError, UnicodeError) as exc:
        error = OSError(f"{target}: {reason(exc)}")
        return [Way((target, None), partial(_fail, error))]
    # Families in turn, beginning with that of the first address (RFC 8305, section 4).
    first = [each for each in found if each[0] == found[0][0]]
    other = [each for each in found if each[0] != found[0][0]]
    alternating = [each for pair in zip_longest(first, other) for each in pair if each is not None]
    hosts = dict.fromkeys(str(name[0]) for *_, name in alternating)
    return [Way((target, host), partial(_connect_tcp, target, host, ssl_context)) for host in hosts]


async def _fail(error: OSError) -> NoReturn:
    raise error


async def _connect_tcp(target: Address, host: str, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    try:
        tcp = await trio.open_tcp_stream(host, target.port)
        return tcp if ssl_context is None else await _start_tls(tcp, ssl_context, target.host)
    except (OSError, UnicodeError, trio.BrokenResourceError) as exc:
        where = target if ip_of(target.host) is not None else f"{target} ({host})"
        raise OSError(f"{where}: {reason(exc)}") from None


async def _start_tls(tcp: trio.SocketStream, ssl_context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    tls = trio.SSLStream(tcp, ssl_context, server_hostname=host)
    try:
        await tls.do_handshake()
        if tls.selected_alpn_protocol() != "h2":
            raise OSError("the server does not speak h2 by ALPN")
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


def reason(exc: Exception) -> str:
    """The innermost cause of `exc`, in few words."""
    cause: BaseException = exc.__cause__ or exc
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[-1]
    if isinstance(cause, OSError) and not isinstance(cause, (ssl.SSLError, socket.gaierror)) and cause.errno:
        return os.strerror(cause.errno)  # Trio's text names the address, too
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
