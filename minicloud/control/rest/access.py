"""This module decides from `Host`, `Origin` and `Sec-Fetch-Site` who may send a request.

Nothing on this port is authenticated, so no web page may use it through the browser of an operator (DESIGN
26). A page has two ways: it sends a request across sites, or it has its own name resolve to this machine (DNS
rebinding), so that the browser takes this server for the page's own. `Sec-Fetch-Site` and `Origin` show the
first. `Host` shows the second, as it has the page's name, which is not a name of this control plane.

`X-Forwarded-*` is not read, as any client can send it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from werkzeug.exceptions import Forbidden

Headers = Iterable[tuple[bytes, bytes]]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ANY_HOST = "*"

_AUTHORITY = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(?::(?P<port>[0-9]{0,5}))?", re.ASCII)
# A browser adds this to every request, and no page can prevent that.
_OF_BROWSERS = b"accept-language"
_SHOWN_CHARS = 128


class Access:
    """These are the rules of one control plane.

    `hosts` are its names besides its addresses and localhost: `name`, `*.suffix` for every name under a
    suffix, or `*` for any name. `origins` are those of other pages that may change things, such as
    `https://ops.example.com`; their hosts are names of the control plane too.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origin.lower() for origin in origins)
        names = {"localhost", *(name.lower() for name in hosts)}
        names.update(urlsplit(origin).hostname or "" for origin in self._origins)
        self._any_host = ANY_HOST in names
        self._suffixes = (".localhost", *(name[1:] for name in sorted(names) if name.startswith("*.")))
        self._names = frozenset(names)

    def check(self, method: str, headers: Headers) -> None:
        """Raise `Forbidden`, with the remedy, for a request that may come from a page of another site.

        A change needs a known host. A read under an unknown host is refused to a browser and answered to a
        tool, which no page controls. A request of HTTP/1.0 without `Host` comes from a tool.
        """
        given: dict[bytes, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.lower(), []).append(value.decode("latin1").strip())
        changes = method not in SAFE_METHODS
        hosts = given.get(b"host", [])
        if (changes or _OF_BROWSERS in given or b"origin" in given) and not all(map(self._is_ours, hosts)):
            raise Forbidden(
                f"host {_shown(hosts)} is not a name of this control plane: use its address, or start it "
                f"with --allowed-host {_example(hosts)}"
            )
        if changes:
            self._check_origin(hosts, given.get(b"origin", []), given.get(b"sec-fetch-site", []))

    def _is_ours(self, host: str) -> bool:
        found = _AUTHORITY.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower().removesuffix(".")
        return (
            self._any_host
            or name in self._names
            or name.endswith(self._suffixes)
            or _is_address(name.removeprefix("[").removesuffix("]"))
        )

    def _check_origin(self, hosts: Sequence[str], origins: Sequence[str], sites: Sequence[str]) -> None:
        if len(origins) == 1 and origins[0].lower() in self._origins:
            return
        if sites:
            # A browser sent this, and its answer also holds behind a proxy that changes Host.
            if all(site in ("same-origin", "none") for site in sites):
                return
        elif not origins:
            return  # a tool
        elif len(origins) == len(hosts) == 1 and _authority(origins[0]) == hosts[0].lower():
            return
        raise Forbidden(
            f"a page of {_shown(origins)} may not change anything here: only pages of this server may, and "
            "those of the origins that --allowed-origin names"
        )


def own_names(listens_on: str) -> list[str]:
    """Return the names that a control plane has by default: the machine's, also in multicast DNS, and the one
    it listens on. Addresses need no name."""
    machine = socket.gethostname().lower()
    return [name for name in (machine, f"{machine.partition('.')[0]}.local", listens_on.lower()) if name]


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _shown(values: Sequence[str]) -> str:
    return repr(", ".join(values)[:_SHOWN_CHARS]) if values else "another site"


def _example(hosts: Sequence[str]) -> str:
    found = _AUTHORITY.fullmatch(hosts[0]) if len(hosts) == 1 else None
    return found["name"] if found is not None and len(found["name"]) <= _SHOWN_CHARS else "NAME"
