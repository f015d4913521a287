"""A control plane's REST interface, as operator commands use it: JSON in and out, over the standard library.

Always holds: whatever goes wrong on the way becomes an `OperationError` of one line that says what to do.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from minicloud.cli.exits import OperationError
from minicloud.cli.options import timeout_s
from minicloud.core.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8080"
URL_ENV = "MINICLOUD_URL"

_NEXT = re.compile(r"<([^>]*)>[^,]*;\s*rel=\"?next\"?", re.IGNORECASE)
_MAX_LINE_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024


class UnreachableError(OperationError):
    """Nothing answered, or the answer broke off; the same call may succeed later."""


class RefusedError(OperationError):
    """The control plane answered with an error. `status` is that of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Rest:
    """The REST interface at `url` (None: `MINICLOUD_URL`, else port 8080 here). One connection a call.

    `timeout` is a duration as typed: how long to wait for a connection, and for each part of an answer.
    Raises `ConfigError` for a URL or a duration that is none.
    """

    def __init__(self, url: str | None = None, timeout: str = "10s") -> None:
        given = url or os.environ.get(URL_ENV) or DEFAULT_URL
        self._parts = _split(given, "--url" if url else URL_ENV)
        self.url = self._parts.geturl()
        self._timeout_s = timeout_s(timeout)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """What `GET path` answers."""
        return self._call("GET", _with_query(self._parts.path + path, query))[0]

    def pages(self, path: str, query: Mapping[str, str] | None = None) -> list[Any]:
        """All the items of `GET path`, next pages included."""
        target = _with_query(self._parts.path + path, query)
        items: list[Any] = []
        seen = set()
        while target and target not in seen:
            seen.add(target)
            page, link = self._call("GET", target)
            if not isinstance(page, list):
                raise OperationError(f"{self.url}{path} answered with something other than a list: {_MAYBE}")
            items += page
            found = _NEXT.search(link)
            # Only path and query are taken: behind a proxy the host named there may not be ours to reach.
            following = urlsplit(urljoin(target, found[1])) if found else None
            target = _with_query(following.path, following.query) if following else ""
        return items

    def post(self, path: str, said: Mapping[str, str] | None = None) -> Any:
        """What `POST path`, with `said` as JSON if there is something, answers."""
        return self._call("POST", self._parts.path + path, json.dumps(said).encode() if said else b"")[0]

    def delete(self, path: str) -> Any:
        """What `DELETE path` answers."""
        return self._call("DELETE", self._parts.path + path)[0]

    def pieces(self, path: str) -> Iterator[bytes]:
        """What `POST path` answers, a piece at a time; raises `UnreachableError` where it breaks off."""
        connection = self._connection()
        try:
            response = self._response(connection, "POST", self._parts.path + path, {}, b"")
            missing_bytes = int(response.getheader("content-length", "0"))
            while piece := response.read(_PIECE_BYTES):
                missing_bytes -= len(piece)
                yield piece
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        if missing_bytes:
            raise UnreachableError(f"the answer of {self.url} broke off: try again")

    def lines(self, path: str, headers: Mapping[str, str], idle_s: float) -> Iterator[bytes]:
        """The lines of an endless answer as they come; ends when the control plane ends it.

        Raises `UnreachableError` where nothing at all comes for `idle_s` seconds, too.
        """
        connection = self._connection()
        try:
            connection.connect()
            stream = connection.sock  # taken now: the connection lets go of it where the answer ends with it
            response = self._response(connection, "GET", self._parts.path + path, headers, b"")
            stream.settimeout(idle_s)
            try:
                while line := response.readline(_MAX_LINE_BYTES):
                    yield line
            except TimeoutError:
                raise UnreachableError(f"nothing came from {self.url} for {idle_s:g} s") from None
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _call(self, method: str, target: str, body: bytes = b"") -> tuple[Any, str]:
        """The parsed body (None if empty) and the `Link` header."""
        connection = self._connection()
        try:
            headers = {"content-type": "application/json"} if body else {}
            response = self._response(connection, method, target, headers, body)
            answered = response.read()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        try:
            parsed = json.loads(answered) if answered else None
        except ValueError:
            kind = response.getheader("content-type", "no content type")
            raise OperationError(f"{self.url} answered with {kind} where JSON was due: {_MAYBE}") from None
        return parsed, response.getheader("link", "")

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        assert self._parts.hostname is not None, "the URL was checked"
        return kind(self._parts.hostname, self._parts.port, timeout=self._timeout_s)

    def _response(
        self, connection: HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> HTTPResponse:
        connection.request(method, target, body or None, {"accept": "application/json", **headers})
        response = connection.getresponse()
        if not 200 <= response.status < 300:
            raise RefusedError(response.status, self._refusal(response))
        return response

    def _refusal(self, response: HTTPResponse) -> str:
        """A problem's `detail`, and what else helps to find it."""
        where = response.getheader("location")
        if 300 <= response.status < 400 and where:
            return f"{self.url} sends us to {where}: give that address with --url"
        try:
            problem = json.loads(response.read())
            text = str(problem.get("detail") or problem.get("title") or "")
        except (ValueError, AttributeError):
            text = ""
        text = text or f"{self.url} answered {response.status} {response.reason} without details: {_MAYBE}"
        request_id = response.getheader("x-request-id")
        return f"{text} (request {request_id})" if response.status >= 500 and request_id else text

    def _unreachable(self, error: OSError | HTTPException) -> UnreachableError:
        if isinstance(error, TimeoutError):
            return UnreachableError(
                f"no answer from {self.url} within {self._timeout_s:g} s: is it overloaded, or is a firewall "
                "in between? wait longer with --timeout"
            )
        if isinstance(error, HTTPException):
            return UnreachableError(
                f"{self.url} does not answer in HTTP: is that the gRPC port? give the REST one with --url"
            )
        if isinstance(error, socket.gaierror):
            return UnreachableError(f"cannot reach {self.url}: {error.strerror}: give another with --url")
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        return UnreachableError(
            f"cannot reach {self.url}: {reason}; is the control plane running there? give another with --url"
        )


_MAYBE = "is that a MiniCloud control plane?"


def _split(url: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        parts = SplitResult(parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ConfigError(f"{where}: {url!r} is not an address: give e.g. {DEFAULT_URL}")


def _with_query(path: str, query: Mapping[str, str] | str | None) -> str:
    text = query if isinstance(query, str) else urlencode(query or {})
    return f"{path}?{text}" if text else path
