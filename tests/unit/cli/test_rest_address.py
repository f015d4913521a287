"""Requests go to the right address, with the right credentials, through redirects, proxies, prefixes, TLS,
IPv6."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import trustme

from minicloud.__main__ import main
from minicloud.cli.address import parse_address, parse_headers
from minicloud.cli.exits import OperationError
from minicloud.cli.proxy import proxy_for
from minicloud.cli.rest import RefusedError, Rest, UnreachableError
from minicloud.core.errors import ConfigError
from tests.unit.cli.server import Answer, ScriptedServer, block, event, problem, scripted_server, worker

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)


@pytest.fixture
def other() -> Iterator[ScriptedServer]:
    """Return a second server, which is another origin."""
    with scripted_server() as script:
        yield script


def with_user(url: str, user: str = f"operator:{SECRET}") -> str:
    return url.replace("://", f"://{user}@")


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


# Credentials


@pytest.mark.parametrize(
    ("typed", "user", "password"),
    [
        ("operator:s3cr3t", "operator", "s3cr3t"),
        ("operator", "operator", ""),
        (":token", "", "token"),
        ("op%40x:p%2Fa%3Ass%20%C3%A9", "op@x", "p/a:ss é"),
        ("op@x:p@ss", "op@x", "p@ss"),
    ],
)
def test_rest_user_in_the_url_is_basic_authentication(
    server: ScriptedServer, typed: str, user: str, password: str
) -> None:
    server.on("GET /x", Answer({}))
    Rest(with_user(server.url, typed)).get("/x")
    assert server.asked[0].headers["authorization"] == basic(user, password)
    assert server.asked[0].headers["host"] == server.url.removeprefix("http://")


def test_rest_user_in_the_url_goes_with_every_kind_of_request(server: ScriptedServer) -> None:
    rest = Rest(with_user(server.url))
    server.on("POST /x", Answer({}))
    server.on("DELETE /x", Answer(None, 204))
    server.on("GET /x", Answer(block(event(1)).encode()))
    rest.post("/x", {"a": "b"})
    rest.delete("/x")
    list(rest.pieces("/x"))
    list(rest.lines("/x", {}, 5.0))
    assert {asked.headers.get("authorization") for asked in server.asked} == {basic("operator", SECRET)}
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "url",
    [
        f"http://operator:{SECRET}@127.0.0.1:1",
        f"operator:{SECRET}@127.0.0.1:1",
        f"http://operator:{SECRET}@127.0.0.1:1/prefix",
        f"http://operator:{SECRET}@127.0.0.1:x",
        f"http://operator:{SECRET}/x@127.0.0.1",
        f"http://operator:a {SECRET}@127.0.0.1:99999",
        f"ftp://operator:{SECRET}@127.0.0.1",
        f"operator:{SECRET}@",
        f"http://operator:{SECRET}@127.0.0.1:1/?q",
        f"https://operator:{SECRET}@a..b",
    ],
)
@pytest.mark.parametrize(
    "words", [["workers"], ["events", "-f"], ["cordon", "w-1"], ["drain", "w-1", "--wait"]]
)
def test_no_message_has_the_password_of_the_url(
    capsys: pytest.CaptureFixture[str], words: list[str], url: str
) -> None:
    assert main([*words, "--url", url, "--timeout", "5s"]) in (1, 2)
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        [f"--url=http://operator:{SECRET}@h", "workers"],
        ["--url", f"http://operator:{SECRET}@h", "workers"],
        ["workers", f"--ulr=http://operator:{SECRET}@h"],
        ["workers", "w-1", f"http://operator:{SECRET}@h"],
        [f"http://operator:{SECRET}@h"],
        ["workers", f"--header=Authorization={SECRET}"],
        ["workers", f"--headers=Authorization: {SECRET}"],
    ],
)
def test_no_usage_error_has_a_secret(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    try:
        code = main(words)
    except SystemExit as ended:
        code = int(str(ended.code))
    out, err = capsys.readouterr()
    assert code == 2
    assert SECRET not in out + err


def test_rest_unauthorized_says_how_to_give_credentials(server: ScriptedServer) -> None:
    server.on("GET /x", Answer(b"<html>", 401, content_type="text/html"))
    with pytest.raises(
        RefusedError, match=r"answered 401 Unauthorized without details: give credentials, as in"
    ):
        Rest(with_user(server.url)).get("/x")


def test_rest_headers_given_are_sent_and_win(server: ScriptedServer) -> None:
    server.on("GET /x", Answer({}))
    headers = ["X-Api-Key: 12:34", "authorization:Bearer abc", "ACCEPT: a/b"]
    Rest(with_user(server.url), headers=headers).get("/x")
    (asked,) = server.asked
    assert asked.headers["x-api-key"] == "12:34"
    assert asked.headers["authorization"] == "Bearer abc"
    assert asked.headers["accept"] == "a/b"


def test_command_sends_the_headers_typed(server: ScriptedServer) -> None:
    server.on("GET /api/workers/stats", Answer({}))
    assert main(["stats", "--header", "X-A: 1", "--header=X-B: 2"]) == 0
    assert (server.asked[0].headers["x-a"], server.asked[0].headers["x-b"]) == ("1", "2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (f"Authorization {SECRET}", "not a header: give 'Name: value'"),
        (f"Auth orization: {SECRET}", "not a header"),
        (f": {SECRET}", "not a header"),
        (f"Authorization: {SECRET}\r\nX: y", "the value of Authorization has characters"),
        (f"Authorization: {SECRET}é\U0001f525", "the value of Authorization has characters"),
        ("Content-Length: 3", "Content-Length is set by the connection itself"),
        ("transfer-encoding: chunked", "transfer-encoding is set by the connection itself"),
    ],
)
def test_header_that_is_none_is_refused_without_its_value(given: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_headers([given])
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_rest_redirect_of_a_get_is_followed_with_credentials_on_the_same_origin(
    server: ScriptedServer, status: int
) -> None:
    server.on("GET /x?a=1", Answer(b"", status, {"location": "/y?a=1"}))
    server.on("GET /y?a=1", Answer({"found": True}))
    rest = Rest(with_user(server.url), headers=["X-Api-Key: 1"])
    assert rest.get("/x", {"a": "1"}) == {"found": True}
    assert server.asked[1].headers["authorization"] == basic("operator", SECRET)
    assert server.asked[1].headers["x-api-key"] == "1"


def test_rest_redirect_to_another_origin_gets_no_credentials(
    server: ScriptedServer, other: ScriptedServer
) -> None:
    server.on("GET /x", Answer(b"", 302, {"location": f"{with_user(other.url, 'evil:evil')}/x"}))
    other.on("GET /x", Answer({"found": True}))
    rest = Rest(with_user(server.url), headers=["X-Api-Key: 1", "Cookie: a"])
    assert rest.get("/x") == {"found": True}
    assert not {"authorization", "x-api-key", "cookie"} & set(other.asked[0].headers)


def test_rest_redirect_to_another_origin_that_wants_credentials_says_what_to_do(
    server: ScriptedServer, other: ScriptedServer
) -> None:
    server.on("GET /x", Answer(b"", 302, {"location": f"{other.url}/x"}))
    other.on("GET /x", Answer(b"", 401))
    with pytest.raises(RefusedError) as caught:
        Rest(with_user(server.url)).get("/x")
    assert str(caught.value) == (
        f"{other.url}/x, where {server.url} redirects, answered 401 Unauthorized without details: "
        "credentials go only to the address in --url: give that one"
    )


def test_rest_redirects_without_end_are_given_up(server: ScriptedServer) -> None:
    server.on("GET /x", Answer(b"", 302, {"location": "/x"}))
    with pytest.raises(RefusedError, match="redirects over and over"):
        Rest().get("/x")
    assert len(server.asked) == 6


@pytest.mark.parametrize("location", ["ftp://h/x", "http://h:x/", "javascript:1"])
def test_rest_redirect_to_what_is_no_http_address_is_refused(server: ScriptedServer, location: str) -> None:
    server.on("GET /x", Answer(b"", 302, {"location": location}))
    with pytest.raises(RefusedError, match="which is no HTTP address"):
        Rest().get("/x")


def test_rest_redirect_of_a_stream_and_of_pages_is_followed(
    server: ScriptedServer, other: ScriptedServer
) -> None:
    server.on("GET /s", Answer(b"", 307, {"location": f"{other.url}/s"}))
    other.on("GET /s", Answer(b"a\nb\n", content_type="text/event-stream"))
    assert list(Rest().lines("/s", {}, 5.0)) == [b"a\n", b"b\n"]
    server.on("GET /l", Answer(b"", 307, {"location": f"{other.url}/l"}))
    other.on("GET /l", Answer([{"a": 1}]))
    assert Rest().pages("/l") == [{"a": 1}]


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("https://cp.example/api/workers/w-1/cordon", "https://cp.example"),
        ("https://cp.example:8443/mini/api/workers/w-1/cordon", "https://cp.example:8443/mini"),
        (f"https://operator:{SECRET}@cp.example/api/workers/w-1/cordon", "https://cp.example"),
        ("/mini/api/workers/w-1/cordon", "SERVER/mini"),
    ],
)
def test_rest_redirect_of_a_change_is_not_followed_and_names_the_address_to_give(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], location: str, there: str
) -> None:
    server.on("POST /api/workers/w-1/cordon", Answer(b"", 308, {"location": location}))
    assert main(["cordon", "w-1"]) == 1
    there = there.replace("SERVER", server.url)
    assert capsys.readouterr().err == (
        f"minicloud: {server.url} redirects to {there}, which is not followed for a change: "
        f"give --url {there}\n"
    )
    assert len(server.asked) == 1


def test_rest_redirect_of_a_change_to_a_page_for_logins_is_named(server: ScriptedServer) -> None:
    server.on("DELETE /api/workers/w-1", Answer(b"", 302, {"location": "https://sso.example/login?to=x"}))
    with pytest.raises(
        RefusedError, match=r"redirects to https://sso\.example/login.* no address of this API"
    ):
        Rest().delete("/api/workers/w-1")


# Addresses


@pytest.mark.parametrize(
    ("url", "shown", "authority"),
    [
        ("h", "http://h", "h"),
        ("h:8080/", "http://h:8080", "h:8080"),
        ("HTTPS://H:443/Pre/fix//", "https://h/Pre/fix", "h"),
        ("http://[::1]:80", "http://[::1]", "[::1]"),
        ("http://[fe80::1%25eth0]:8080", "http://[fe80::1]:8080", "[fe80::1]:8080"),
        ("http://h/pré fix", "http://h/pr%C3%A9%20fix", "h"),
        ("http://müller.example", "http://xn--mller-kva.example", "xn--mller-kva.example"),
        (" http://h ", "http://h", "h"),
    ],
)
def test_address_as_typed_is_read(url: str, shown: str, authority: str) -> None:
    address = parse_address(url, "--url")
    assert (address.shown, address.authority) == (shown, authority)


def test_address_of_a_link_keeps_its_zone_for_the_connection() -> None:
    assert parse_address("http://[fe80::1%25eth0]", "--url").host == "fe80::1%eth0"


def test_rest_below_a_prefix_follows_links_that_lack_it(server: ScriptedServer) -> None:
    """A proxy that removes a prefix leaves the control plane's own links as they are."""
    server.on("GET /mini/l", Answer([{"a": 1}], headers={"link": '</l?page_token=b>; rel="next"'}))
    server.on("GET /mini/l?page_token=b", Answer([{"a": 2}], headers={"link": '</mini/l?c>; rel="next"'}))
    server.on("GET /mini/l?c", Answer([{"a": 3}]))
    assert Rest(f"{server.url}/mini/").pages("/l") == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_rest_at_an_ipv6_address_is_reached() -> None:
    with scripted_server("::1") as server:
        server.on("GET /x", Answer({"a": 1}))
        assert Rest(server.url).get("/x") == {"a": 1}
        assert server.asked[0].headers["host"] == server.url.removeprefix("http://")


# TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[ScriptedServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with scripted_server(tls=context) as server:
        server.on("GET /x", Answer({"a": 1}))
        yield server


def test_rest_certificate_that_is_not_trusted_says_how_to_trust_it(secure: ScriptedServer) -> None:
    with pytest.raises(UnreachableError) as caught:
        Rest(with_user(secure.url)).get("/x")
    assert str(caught.value).startswith(f"the certificate of {secure.url} is not trusted: ")
    assert "SSL_CERT_FILE" in str(caught.value)
    assert secure.asked == []


def test_rest_certificate_of_an_authority_named_is_trusted(
    secure: ScriptedServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        assert Rest(with_user(secure.url)).get("/x") == {"a": 1}
    assert secure.asked[0].headers["authorization"] == basic("operator", SECRET)


def test_rest_certificate_of_another_host_is_named(
    secure: ScriptedServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        with pytest.raises(UnreachableError, match="is not trusted: Hostname mismatch"):
            Rest(secure.url.replace("127.0.0.1", "localhost")).get("/x")


def test_rest_https_to_a_plain_port_says_so(server: ScriptedServer) -> None:
    with pytest.raises(UnreachableError, match=r"does not answer in TLS .* is that a plain http address"):
        Rest(server.url.replace("http:", "https:")).get("/x")


# Proxies


@pytest.mark.parametrize(
    ("url", "env", "proxy"),
    [
        ("http://cp", {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ("http://cp", {"http_proxy": "p:3128"}, "http://p:3128"),
        ("https://cp", {"HTTP_PROXY": "http://p:3128"}, None),
        ("https://cp", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("http://cp", {"ALL_PROXY": "http://p:3128"}, "http://p:3128"),
        ("http://cp", {"HTTP_PROXY": "http://p", "NO_PROXY": "cp"}, None),
        ("http://cp.example", {"HTTP_PROXY": "http://p", "no_proxy": "a, .example"}, None),
        ("http://cp:8080", {"HTTP_PROXY": "http://p", "NO_PROXY": "cp:8080"}, None),
        ("http://cp", {"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ("http://10.1.2.3:8080", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://11.1.2.3:8080", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://p"),
        ("http://[fd00::1]", {"HTTP_PROXY": "http://p", "NO_PROXY": "fd00::/8"}, None),
        ("http://127.0.0.1:8080", {"HTTP_PROXY": "http://p"}, None),
        ("http://127.8.9.1:8080", {"ALL_PROXY": "http://p"}, None),
        ("http://localhost", {"HTTP_PROXY": "http://p"}, None),
        ("https://[::1]", {"HTTPS_PROXY": "http://p"}, None),
        ("http://127.0.0.1.example", {"HTTP_PROXY": "http://p"}, "http://p"),
        ("http://cp", {"HTTP_PROXY": ""}, None),
        ("http://cp", {}, None),
    ],
)
def test_proxy_is_that_of_the_variables_and_never_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, env: dict[str, str], proxy: str | None
) -> None:
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    found = proxy_for(parse_address(url, "--url"))
    assert (found.shown if found else None) == proxy


def test_proxy_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"socks5://u:{SECRET}@p:1080")
    with pytest.raises(ConfigError) as caught:
        proxy_for(parse_address("http://cp", "--url"))
    assert str(caught.value).startswith("HTTP_PROXY: only proxies that are spoken to in plain HTTP")
    assert SECRET not in str(caught.value)


def test_rest_through_a_proxy_names_the_whole_address_and_tells_each_its_own_credentials(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET http://cp.example:8080/mini/x?a=1", Answer({"a": 1}))
    monkeypatch.setenv("HTTP_PROXY", with_user(server.url, "proxy:pass"))
    assert Rest(f"http://operator:{SECRET}@cp.example:8080/mini").get("/x", {"a": "1"}) == {"a": 1}
    (asked,) = server.asked
    assert asked.headers["host"] == "cp.example:8080"
    assert asked.headers["authorization"] == basic("operator", SECRET)
    assert asked.headers["proxy-authorization"] == basic("proxy", "pass")


def test_rest_through_a_proxy_that_is_away_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://u:{SECRET}@127.0.0.1:{port}")
    with pytest.raises(UnreachableError) as caught:
        Rest("http://cp.example").get("/x")
    assert str(caught.value).startswith(
        f"cannot reach http://cp.example through the proxy http://127.0.0.1:{port}: connection refused"
    )
    assert SECRET not in str(caught.value)


def test_rest_tunnel_refused_by_a_proxy_says_so(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    with pytest.raises(UnreachableError, match=r"through the proxy .*: tunnel connection failed: 501"):
        Rest("https://cp.example").get("/x")


# Answers that end before or after their length


ENDINGS: dict[str, Callable[[Answer], Answer]] = {
    "length": lambda answer: answer,
    "chunked": lambda answer: replace(answer, chunked=True),
    "until close": lambda answer: replace(answer, until_close=True),
}


@pytest.mark.parametrize("how", ["chunked", "until close"])
def test_command_through_a_proxy_that_drops_the_length_works(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    ends = ENDINGS[how]
    server.on("GET /api/workers?limit=1000", ends(Answer([worker("w-1"), worker("w-2")])))
    server.on("GET /api/workers/w-1", ends(Answer(worker("w-1"))))
    server.on("GET /api/workers/stats", ends(Answer({"totalWorkers": 2})))
    server.on("GET /api/events?limit=100", ends(Answer([event(1)])))
    server.on("POST /api/workers/w-1/cordon", ends(Answer(worker("w-1"))))
    server.on("DELETE /api/workers/w-1", ends(Answer(None)))
    for words in (["workers"], ["workers", "w-1"], ["stats"], ["events"], ["cordon", "w-1"]):
        assert main(words) == 0
    assert main(["remove", "w-1", "--yes"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("how", ENDINGS)
def test_answer_that_breaks_off_says_so(server: ScriptedServer, how: str) -> None:
    server.on("GET /l", ENDINGS[how](Answer([worker()], missing_bytes=9)))
    with pytest.raises(UnreachableError, match="broke off: try again"):
        Rest().pages("/l")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"text"', b"1"])
def test_answer_that_is_no_object_asks_whether_it_is_ours(server: ScriptedServer, body: bytes) -> None:
    server.on("GET /x", Answer(body))
    server.on("POST /x", Answer(body))
    for call in (Rest().get, Rest().post):
        with pytest.raises(OperationError, match="something other than an object: is that a MiniCloud"):
            call("/x")


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[[]]"])
def test_list_that_is_none_of_objects_asks_whether_it_is_ours(server: ScriptedServer, body: bytes) -> None:
    server.on("GET /l", Answer(body))
    with pytest.raises(OperationError, match=r"something other than .*: is that a MiniCloud"):
        Rest().pages("/l")


def test_message_of_the_server_cannot_steer_the_terminal(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("POST /api/workers/w-1/cordon", problem(409, "no\x1b[2J\r\nway \u202e"))
    assert main(["cordon", "w-1"]) == 1
    assert capsys.readouterr().err == "minicloud: no\\x1b[2J way \\u202e\n"
