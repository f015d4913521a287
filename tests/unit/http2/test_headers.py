"""Header lists are well formed or refused, and error codes have names."""

from __future__ import annotations

import pytest

from minicloud.http2.errors import error_name
from minicloud.http2.headers import HeadersKind, malformation
from tests.unit.http2.raw_frames import REQUEST_HEADERS

_GOOD = list(REQUEST_HEADERS.items())


def test_headers_of_a_request_are_well_formed() -> None:
    assert malformation(_GOOD, HeadersKind.REQUEST) is None


@pytest.mark.parametrize(
    "headers",
    [
        [*_GOOD, (b"Upper", b"x")],
        [*_GOOD, (b"", b"x")],
        [*_GOOD, (b"k", b"a\r\nb")],
        [*_GOOD, (b"k", b"\0")],
        [*_GOOD, (b"k", b" a")],
        [*_GOOD, (b"k", b"a\t")],
        [*_GOOD, (b":path", b"/late")],
        [(b":path", b"/twice"), *_GOOD],
        [(b":odd", b"x"), *_GOOD],
        [(b":status", b"200"), *_GOOD],
        [*_GOOD, (b"connection", b"close")],
        [*_GOOD, (b"te", b"gzip")],
        _GOOD[1:],
        [],
    ],
)
def test_headers_that_break_the_rfc_are_malformed(headers: list[tuple[bytes, bytes]]) -> None:
    assert malformation(headers, HeadersKind.REQUEST) is not None


def test_error_name_outside_the_registry_is_hexadecimal() -> None:
    assert [error_name(0xB), error_name(0xABC)] == ["ENHANCE_YOUR_CALM", "0xabc"]
