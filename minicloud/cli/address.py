"""Operator commands send their requests to an `HttpAddress`: the address as typed, its credentials, more
headers.

Always holds: neither `HttpAddress.shown` nor an error raised here has a user or a password
(`tests/unit/cli/test_rest_address.py`: test_no_message_has_the_password_of_the_url).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from minicloud.cli.text import without_credentials
from minicloud.core.errors import ConfigError
from minicloud.net.address import Address, is_loopback

DEFAULT_URL = "http://127.0.0.1:8080"

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# HTTP needs the right values in these headers; one of them set by hand makes an answer or a request
# unreadable.
_OURS = frozenset({"connection", "content-length", "transfer-encoding", "te", "upgrade", "host"})


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An `HttpAddress` is the target of a request. `path` is quoted and may have a query.

    `authorization` belongs to an address as typed, and is empty for none; addresses made from it have none.
    """

    scheme: str
    host: str
    port: int
    path: str
    authorization: str = ""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Return the parts of an address that must be the same for credentials to be sent along
        (DESIGN 73)."""
        return self.scheme, self.host, self.port

    @property
    def shown(self) -> str:
        """Return the address for messages, without credentials."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Return the value of `Host`: the port only where it is not the scheme's own, IPv6 in brackets, no
        zone."""
        both = Address(self.host, self.port).authority
        return both.removesuffix(f":{self.port}") if self.port == _PORTS[self.scheme] else both

    @property
    def is_loopback(self) -> bool:
        """Return True if the address leads to this machine, as far as that is known without a resolver."""
        return is_loopback(self.host)

    def below(self, path: str) -> HttpAddress:
        """Return the address of `path`, quoted and with a slash in front, below this one."""
        return HttpAddress(self.scheme, self.host, self.port, self.path + path)

    def at(self, path: str) -> HttpAddress:
        """Return the address of `path` on the same server."""
        return HttpAddress(self.scheme, self.host, self.port, path)

    def redirected(self, location: str) -> HttpAddress | None:
        """Return the target of a `Location` sent from here, without credentials; None where that is no HTTP
        address."""
        try:
            parts = urlsplit(urljoin(f"{self.scheme}://{self.authority}{self.path}", location))
            found = _address(parts, "")
        except ValueError:
            return None
        if found is None:
            return None
        path = _quoted(parts.path or "/") + (f"?{_quoted(parts.query)}" if parts.query else "")
        return HttpAddress(found.scheme, found.host, found.port, path)


def parse_address(url: str, where: str) -> HttpAddress:
    """Return the control plane's address that `where` gives as `url`, `http` unless it has a scheme.

    A user and a password in it, percent-encoded where they hold special characters, are basic authentication.
    Raises `ConfigError`.
    """
    text = url.strip()
    shown = without_credentials(text)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        found = _address(parts, _basic(parts))
    except ValueError:
        found = None
    if found is None:
        raise ConfigError(f"{where}: {shown!r} is not an address: give e.g. {DEFAULT_URL}")
    if parts.query or parts.fragment:
        raise ConfigError(
            f"{where}: {shown!r} has a query: give the address alone, and a token with --header"
        )
    return found


def _address(parts: SplitResult, authorization: str) -> HttpAddress | None:
    """Return the address without its query; None for one that no request can be sent to. Raises
    `ValueError`."""
    host = unquote(parts.hostname or "")
    if parts.scheme not in _PORTS or not host or parts.port == 0 or not host.isprintable() or " " in host:
        return None
    if ":" not in host:
        host = host.encode("idna").decode()  # a UnicodeError is a ValueError
    port = parts.port or _PORTS[parts.scheme]
    return HttpAddress(parts.scheme, host, port, _quoted(parts.path.rstrip("/")), authorization)


def _basic(parts: SplitResult) -> str:
    if not parts.username and not parts.password:
        return ""
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _quoted(text: str) -> str:
    """Percent-encode in `text` what no request line may hold, and encode nothing twice."""
    return quote(text, safe="/%:@!$&'()*+,;=~?[]")


def parse_headers(given: Sequence[str]) -> dict[str, str]:
    """Parse headers given as `Name: value`, and return them by name as it is written.

    Raises `ConfigError` that shows no value.
    """
    found: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _NAME.fullmatch(name):
            raise ConfigError("--header: not a header: give 'Name: value', as in 'X-Api-Key: 1234'")
        if not _VALUE.fullmatch(value):
            raise ConfigError(f"--header: the value of {name} has characters that no header can have")
        if name.lower() in _OURS:
            raise ConfigError(f"--header: {name} is set by the connection itself: leave it out")
        found[name] = value
    return found
