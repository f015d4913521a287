"""Operator commands call a control plane's REST interface here: JSON in and out, over the standard library.

Always holds: every failure becomes an `OperationError` of one line that names the remedy, and no such line
has credentials; credentials are sent to the origin that they were given for, and to no other (DESIGN 73). The
tests in `tests/unit/cli/test_rest.py` and `test_rest_address.py` keep these.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

from minicloud.cli.address import DEFAULT_URL, HttpAddress, parse_address, parse_headers
from minicloud.cli.exits import OperationError
from minicloud.cli.options import show_warnings, timeout_s
from minicloud.cli.proxy import proxy_for
from minicloud.config.environment import misspelt
from minicloud.config.placeholders import variable
from minicloud.config.table import URL_ENV

_NEXT = re.compile(r"<([^>]*)>[^,]*;\s*rel=\"?next\"?", re.IGNORECASE)
_MAX_LINE_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_MAX_REDIRECTS = 5


class UnreachableError(OperationError):
    """The control plane did not answer, or its answer broke off; the same call may succeed later."""


class RefusedError(OperationError):
    """The answer is an error with HTTP's `status`. `detailed` is True where it has a reason, as MiniCloud's
    do."""

    def __init__(self, status: int, text: str, *, detailed: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.detailed = detailed


class Rest:
    """A `Rest` calls the REST interface at `url` (None: `MINICLOUD_URL`, else port 8080 here), one connection
    a call.

    `timeout` is a duration as typed: the longest wait for a connection, and for each part of an answer.
    `headers` are sent with each request, as typed: `Name: value`. Raises `ConfigError` for a malformed URL,
    duration or header.
    """

    def __init__(self, url: str | None = None, timeout: str = "10s", headers: Sequence[str] = ()) -> None:
        if not url:
            show_warnings(misspelt(os.environ, [URL_ENV]))
        given = url or variable(os.environ, URL_ENV) or DEFAULT_URL
        self._base = parse_address(given, "--url" if url else URL_ENV)
        self._headers = parse_headers(headers)
        self._timeout_s = timeout_s(timeout)

    @classmethod
    def of(cls, options: Namespace) -> Self:
        """Return the interface that the options of `parser.operator_parser` select."""
        return cls(options.url, options.timeout, options.header)

    @property
    def url(self) -> str:
        """Return the control plane's address for messages, without credentials."""
        return self._base.shown

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Return the object with which `GET path` is answered."""
        answer, _ = self._call("GET", self._base.below(_with_query(path, query)))
        return self._object(answer, path)

    def pages(
        self, path: str, query: Mapping[str, str] | None = None, most: int | None = None
    ) -> list[Mapping[str, Any]]:
        """Return all objects that `GET path` lists, next pages included; no further page is asked for after
        `most`."""
        target = self._base.below(_with_query(path, query)).path
        items: list[Mapping[str, Any]] = []
        seen = set()
        while target and target not in seen and (most is None or len(items) < most):
            seen.add(target)
            page, link = self._call("GET", self._base.at(target))
            if not isinstance(page, list):
                raise OperationError(f"{self.url}{path} answered with something other than a list: {_MAYBE}")
            items += [self._object(item, path) for item in page]
            found = _NEXT.search(link)
            # Only path and query are used: behind a proxy, the host in the link may not be reachable from
            # here.
            following = urlsplit(urljoin(target, found[1])) if found else None
            target = self._own(_with_query(following.path, following.query)) if following else ""
        return items

    def post(self, path: str, said: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Send `POST path`, with `said` as JSON if there is any, and return the object of the answer."""
        return self._object(self._call("POST", self._base.below(path), _body(said))[0], path)

    def delete(self, path: str, said: Mapping[str, str] | None = None) -> None:
        """Send `DELETE path`, with `said` as JSON if there is any."""
        self._call("DELETE", self._base.below(path), _body(said))

    def pieces(self, path: str) -> Iterator[bytes]:
        """Yield the answer to `POST path`, a piece at a time; raises `UnreachableError` where it breaks off.

        An answer without a length that is not chunked ends with its connection: only the caller can find out
        whether it is whole.
        """
        with self._response("POST", self._base.below(path)) as response:
            missing_bytes = response.length or 0
            while piece := response.read(_PIECE_BYTES):
                missing_bytes -= len(piece)
                yield piece
        if missing_bytes > 0:
            raise self._broken_off()

    def lines(self, path: str, headers: Mapping[str, str], idle_s: float) -> Iterator[bytes]:
        """Yield the lines of an endless answer as they come, until the control plane ends it.

        Raises `UnreachableError` also where nothing at all comes for `idle_s` seconds.
        """
        with self._response("GET", self._base.below(path), headers=headers, idle_s=idle_s) as response:
            try:
                while line := response.readline(_MAX_LINE_BYTES):
                    yield line
            except TimeoutError:
                raise UnreachableError(f"nothing came from {self.url} for {idle_s:g} s") from None

    def _call(self, method: str, target: HttpAddress, body: bytes = b"") -> tuple[Any, str]:
        """Return the parsed body (None if empty) and the `Link` header."""
        with self._response(method, target, body) as response:
            answered = response.read()
        try:
            parsed = json.loads(answered) if answered else None
        except ValueError:
            kind = response.getheader("content-type", "no content type")
            if kind.partition(";")[0].strip().endswith("json"):
                raise self._broken_off() from None
            raise OperationError(f"{self.url} answered with {kind} where JSON was due: {_MAYBE}") from None
        return parsed, response.getheader("link", "")

    @contextmanager
    def _response(
        self,
        method: str,
        target: HttpAddress,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        idle_s: float | None = None,
    ) -> Iterator[HTTPResponse]:
        """Yield a successful answer, to be read inside the block; redirects of a GET are followed.

        Raises `RefusedError` for another answer, and `UnreachableError` for every failure until the end.
        """
        for _ in range(1 + _MAX_REDIRECTS):
            connection, path, proxied = self._connection(target)
            try:
                connection.connect()
                stream = connection.sock  # the connection drops its socket at the end of the answer
                sent = _merged(self._headers_for(target, body), headers or {}, proxied)
                connection.request(method, path, body or None, sent)
                response = connection.getresponse()
                location = response.getheader("location", "")
                if not 300 <= response.status < 400 or not location:
                    if not 200 <= response.status < 300:
                        raise self._refusal(response, target)
                    if idle_s is not None:
                        stream.settimeout(idle_s)
                    yield response
                    return
            except (OSError, HTTPException) as error:
                raise self._unreachable(error, target) from None
            finally:
                connection.close()
            following = target.redirected(location)
            if method != "GET" or following is None:
                raise RefusedError(response.status, self._moved(target, location, following))
            target = following
        raise RefusedError(
            response.status, f"{self.url} redirects over and over: give another address with --url"
        )

    def _connection(self, target: HttpAddress) -> tuple[HTTPConnection, str, dict[str, str]]:
        """Return a connection to use for `target`, and the request's target and further headers on it."""
        proxy = proxy_for(target)
        kind = HTTPSConnection if target.scheme == "https" else HTTPConnection
        if proxy is None:
            return kind(target.host, target.port, timeout=self._timeout_s), target.path or "/", {}
        connection = kind(proxy.host, proxy.port, timeout=self._timeout_s)
        credentials = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        if target.scheme == "https":
            connection.set_tunnel(target.host, target.port, credentials)
            return connection, target.path or "/", {}
        return connection, target.shown, credentials

    def _headers_for(self, target: HttpAddress, body: bytes) -> dict[str, str]:
        headers = {"Host": target.authority, "Accept": "application/json"}
        if body:
            headers["Content-Type"] = "application/json"
        if target.origin != self._base.origin:
            return headers
        if self._base.authorization:
            headers["Authorization"] = self._base.authorization
        return _merged(headers, self._headers)

    def _own(self, target: str) -> str:
        """Return `target` below our own address: behind a proxy that removes a prefix, links lack it."""
        prefix = self._base.path
        return target if not prefix or target.startswith(f"{prefix}/") else prefix + target

    def _object(self, answer: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(answer, dict):
            raise OperationError(f"{self.url}{path} answered with something other than an object: {_MAYBE}")
        return answer

    def _refusal(self, response: HTTPResponse, target: HttpAddress) -> RefusedError:
        """Return the error for an answer: a problem's `detail`, else advice for finding the cause."""
        try:
            problem = json.loads(response.read())
            text = str(problem.get("detail") or problem.get("title") or "")
        except (ValueError, AttributeError):
            text = ""
        detailed = bool(text)
        if not detailed:
            where, advice = self.url, _ADVICE.get(response.status, _MAYBE)
            if target.origin != self._base.origin:
                where = f"{target.shown}, where {self.url} redirects,"
                if advice is _CREDENTIALS:
                    advice = "credentials go only to the address in --url: give that one"
            text = f"{where} answered {response.status} {response.reason} without details: {advice}"
        request_id = response.getheader("x-request-id")
        if response.status >= 500 and request_id:
            text = f"{text} (request {request_id})"
        return RefusedError(response.status, text, detailed=detailed)

    def _moved(self, target: HttpAddress, location: str, following: HttpAddress | None) -> str:
        """Return the message for a redirect that is not followed. It names the address to use instead, if
        any."""
        if following is None:
            return f"{self.url} redirects to {location!r}, which is no HTTP address: give another with --url"
        asked = target.path.removeprefix(self._base.path)
        if not following.path.endswith(asked):
            return (
                f"{self.url} redirects to {following.shown}, which is not followed for a change, and is "
                "no address of this API: give the control plane's own with --url"
            )
        there = following.at(following.path.removesuffix(asked)).shown
        return f"{self.url} redirects to {there}, which is not followed for a change: give --url {there}"

    def _broken_off(self) -> UnreachableError:
        return UnreachableError(f"the answer of {self.url} broke off: try again")

    def _unreachable(self, error: OSError | HTTPException, target: HttpAddress) -> UnreachableError:
        proxy = proxy_for(target)
        where = self.url if target.origin == self._base.origin else target.at("").shown
        if proxy is not None:
            where = f"{where} through the proxy {proxy.shown}"
        if isinstance(error, TimeoutError):
            return UnreachableError(
                f"no answer from {where} within {self._timeout_s:g} s: is it overloaded, or is a firewall "
                "in between? wait longer with --timeout"
            )
        if isinstance(error, IncompleteRead):
            return self._broken_off()
        if isinstance(error, HTTPException):
            return UnreachableError(
                f"{where} does not answer in HTTP: is that the gRPC port, or does it want https? "
                "give the REST one with --url"
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return UnreachableError(
                f"the certificate of {where} is not trusted: {error.verify_message}; if it is from an "
                "authority of your own, name that authority's certificate in SSL_CERT_FILE"
            )
        if isinstance(error, ssl.SSLError):
            return UnreachableError(
                f"{where} does not answer in TLS ({error.reason}): is that a plain http address? "
                "give another with --url"
            )
        if isinstance(error, socket.gaierror):
            return UnreachableError(f"cannot reach {where}: {error.strerror}: give another with --url")
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        return UnreachableError(
            f"cannot reach {where}: {reason}; is the control plane running there? give another with --url"
        )


_MAYBE = "is that a MiniCloud control plane?"
_CREDENTIALS = "give credentials, as in --url http://USER:PASSWORD@HOST, or a token with --header"
_ADVICE = {401: _CREDENTIALS, 403: _CREDENTIALS, 407: "give the proxy's user and password in HTTP_PROXY"}


def _merged(*several: Mapping[str, str]) -> dict[str, str]:
    """Merge headers; of several with one name, in any case, the last one counts."""
    found: dict[str, tuple[str, str]] = {}
    for headers in several:
        found |= {name.lower(): (name, text) for name, text in headers.items()}
    return dict(found.values())


def _body(said: Mapping[str, str] | None) -> bytes:
    return json.dumps(said).encode() if said else b""


def _with_query(path: str, query: Mapping[str, str] | str | None) -> str:
    text = query if isinstance(query, str) else urlencode(query or {})
    return f"{path}?{text}" if text else path
