"""The headers of a request decide whether it is answered (DESIGN 26)."""

from __future__ import annotations

import socket

import pytest
from werkzeug.exceptions import Forbidden

from minicloud.control.rest.access import Access, own_names
from tests.unit.control.rest.kit import HttpClient, Rest, json_of, problem_of

BROWSER = ("accept-language", "en")


def allowed(access: Access, method: str, *headers: tuple[str, str]) -> bool:
    try:
        access.check(method, [(name.encode(), value.encode("latin1")) for name, value in headers])
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8080", True),
        ("10.0.0.7", True),
        ("[::1]:8080", True),
        ("[fd00::7]", True),
        ("localhost", True),
        ("LocalHost.:8080", True),
        ("cp.localhost:8080", True),
        ("cloud.example.com", True),
        ("CLOUD.example.com:9999", True),
        ("a.b.pods.example.com", True),
        ("pods.example.com", False),
        ("xpods.example.com", False),
        ("evil:8080", False),
        ("cloud.example.com.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.1", False),
        ("[::1", False),
        ("user@127.0.0.1", False),
        ("127.0.0.1, evil", False),
        ("", False),
        (":8080", False),
        ("évil", False),
    ],
)
def test_host_of_a_change_is_an_address_localhost_or_a_name_that_was_given(host: str, ours: bool) -> None:
    access = Access(["cloud.example.com", "*.pods.example.com"])
    for method in ("POST", "DELETE", "PUT"):
        assert allowed(access, method, ("host", host)) is ours
        matching = ("origin", f"http://{host}")
        assert allowed(access, method, ("host", host), matching, BROWSER) is ours
    assert allowed(access, "GET", ("host", host), BROWSER) is ours


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_read_of_a_tool_is_answered_under_any_name_and_one_of_a_page_is_not(method: str) -> None:
    access = Access()
    assert allowed(access, method, ("host", "cp.cluster.example:8080"))
    assert not allowed(access, method, ("host", "cp.cluster.example:8080"), BROWSER)
    assert not allowed(access, method, ("host", "evil"), ("origin", "http://evil"))


def test_request_without_a_host_is_a_tools() -> None:
    assert allowed(Access(), "POST")


def test_any_host_may_be_allowed() -> None:
    access = Access(["*"])
    assert allowed(access, "POST", ("host", "evil:8080"), ("origin", "http://evil:8080"))
    assert not allowed(access, "POST", ("host", "evil:8080"), ("origin", "http://other"))


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ([], True),
        ([("origin", "http://127.0.0.1:8080")], True),
        ([("origin", "HTTP://127.0.0.1:8080")], True),
        ([("origin", "http://127.0.0.1")], False),
        ([("origin", "null")], False),
        ([("origin", "http://[")], False),
        ([("origin", "http://127.0.0.1:8080"), ("origin", "http://evil")], False),
        ([("origin", "https://ops.example.com")], True),
        ([("origin", "http://ops.example.com")], False),
        ([("origin", "https://ops.example.com:8443")], False),
        ([("origin", "https://ops.example.com"), ("sec-fetch-site", "cross-site")], True),
        ([("origin", "https://behind.proxy"), ("sec-fetch-site", "same-origin")], True),
        ([("sec-fetch-site", "same-origin")], True),
        ([("sec-fetch-site", "none")], True),
        ([("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "cross-site")], False),
        ([("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-site")], False),
        ([("sec-fetch-site", "cross-site")], False),
        ([("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], False),
        ([("sec-fetch-site", "anything")], False),
        ([("origin", "http://evil"), ("x-forwarded-host", "evil")], False),
        ([("origin", "http://evil"), ("forwarded", "host=evil")], False),
    ],
)
def test_change_is_for_own_pages_those_named_and_tools(headers: list[tuple[str, str]], may: bool) -> None:
    access = Access(origins=["https://ops.example.com"])
    assert allowed(access, "POST", ("host", "127.0.0.1:8080"), *headers) is may
    assert allowed(access, "GET", ("host", "127.0.0.1:8080"), *headers)


def test_host_of_an_allowed_origin_is_a_name_of_the_control_plane() -> None:
    headers = [("host", "ops.example.com"), ("origin", "https://ops.example.com"), BROWSER]
    assert allowed(Access(origins=["https://ops.example.com"]), "POST", *headers)
    assert not allowed(Access(), "POST", *headers)


def test_forwarded_host_does_not_stand_for_the_host() -> None:
    assert not allowed(Access(), "POST", ("host", "evil"), ("x-forwarded-host", "127.0.0.1"))


def test_own_names_are_the_machines_and_the_one_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Node7.corp.example")
    access = Access(own_names("cloud"))
    for host in ("node7.corp.example", "node7.local", "cloud:8080"):
        assert allowed(access, "POST", ("host", host)), host
    assert not allowed(access, "POST", ("host", "node7.evil.example"))


async def test_page_that_has_its_name_lead_here_changes_and_reads_nothing() -> None:
    rest = Rest()
    rest.register("w1")
    headers = {"Host": "evil:8080", "Origin": "http://evil:8080", "Accept-Language": "en"}
    for action in ("cordon", "uncordon", "drain"):
        response = await rest.client.post(f"/api/workers/w1/{action}", headers=headers)
        problem = await problem_of(response, 403)
        assert "--allowed-host evil" in problem["detail"]
    await problem_of(await rest.client.delete("/api/workers/w1", headers=headers), 403)
    await problem_of(await rest.client.post("/api/registry/backup", headers=headers), 403)
    for path in ("/api/workers", "/api/events", "/docs", "/nothing"):
        await problem_of(await rest.client.get(path, headers=headers), 403)
    assert (await json_of(await rest.client.get("/api/workers/w1")))["adminState"] == "ACTIVE"


async def test_host_in_the_target_counts_in_place_of_the_header() -> None:
    rest = Rest()
    rest.register("w1")
    async with rest.served() as port, HttpClient.connected(port) as client:
        answer = await client.request("DELETE", "http://evil:8080/api/workers/w1")
        assert answer.status == 403
        answer = await client.request("DELETE", "http://127.0.0.1:8080/api/workers/w1")
        assert answer.status == 204


async def test_change_through_a_proxy_that_has_been_named_is_made() -> None:
    rest = Rest(access=Access(["cloud"], ["https://ops.example.com"]))
    rest.register("w1")
    headers = {"Origin": "https://ops.example.com", "Host": "cloud:8080"}
    assert (await rest.client.post("/api/workers/w1/drain", headers=headers)).status_code == 200
