from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.cli.events import ServerEvent, events, follow, server_events
from minicloud.cli.exits import OperationError
from minicloud.cli.rest import RefusedError, Rest, UnreachableError
from tests.unit.cli.server import Answer, ScriptedServer, block, event, problem, stream


class Enough(BaseException):
    """A test raises this in place of a pause, to end a command that would go on for ever."""


class Pauses:
    """A `Pauses` stands in for `sleep`: it lets `count` pauses pass at once, then raises `Enough`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        if len(self.taken) == self.count:
            raise Enough
        self.taken.append(seconds)


def ids(since: str | None, pauses: Pauses) -> list[int]:
    """Return the ids of the entries that are followed until the pauses are over."""
    found: list[int] = []

    def follow_to_the_end() -> None:
        found.extend(entry["eventId"] for entry in follow(Rest(), since, pauses))

    with pytest.raises(Enough):
        follow_to_the_end()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"data: x\n\n", [("", "message", "x")]),
        (b"id: 1\nevent: left\ndata: x\n\n", [("1", "left", "x")]),
        (b"data:x\r\ndata: y\r\n\r\n", [("", "message", "x\ny")]),
        (b": comment\n\nretry: 5\nunknown: z\n\n", []),
        (b"id: 7\nretry: 2000\n\n", [("7", "message", "")]),
        (b"id: 7\n\n: keep-alive\n\n", [("7", "message", "")]),
        (
            b"id: 7\n\ndata: x\n\ndata: y\n\n",
            [("7", "message", ""), ("7", "message", "x"), ("7", "message", "y")],
        ),
        (b"data: cut off", []),
        (b"event: gone\n\ndata: x\n\n", [("", "message", "x")]),
        (b"id: a\0b\ndata: x\n\n", [("", "message", "x")]),
    ],
)
def test_server_events_are_read_as_the_standard_has_it(
    text: bytes, expected: list[tuple[str, str, str]]
) -> None:
    assert list(server_events(text.splitlines(keepends=True))) == [ServerEvent(*each) for each in expected]


@given(st.lists(st.binary(max_size=20)))
def test_server_events_of_any_bytes_raise_nothing(lines: list[bytes]) -> None:
    list(server_events(lines))


def test_events_are_lines_with_time_id_kind_worker_change_and_reason(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = event(
        1, kind="registered", detail="new", oldStatus="OFFLINE", newStatus="HEALTHY", reason="registered"
    )
    server.on("GET /api/events?limit=100", Answer([first, event(2)]))
    assert events([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2023-11-14 22:13:21Z       1  registered (new)       w-1               "
        "OFFLINE -> HEALTHY      registered",
        "2023-11-14 22:13:22Z       2  unhealthy              w-1               "
        "HEALTHY -> UNHEALTHY    no heartbeat for 120 s",
    ]


def test_events_as_json_are_one_a_line_as_the_api_has_them(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/events?limit=5", Answer([event(1), event(2)]))
    assert events(["--json", "-n", "5"]) == 0
    assert [json.loads(text) for text in capsys.readouterr().out.splitlines()] == [event(1), event(2)]


def test_events_since_an_id_are_read_to_the_end(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/events?after=5&limit=1000", Answer([event(number) for number in range(6, 1006)]))
    server.on("GET /api/events?after=1005&limit=1000", Answer([event(1006)]))
    assert events(["--since", "5", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1001


def test_events_followed_show_the_newest_then_go_on_behind_them(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/events?limit=10", Answer([event(1), event(2)]))
    server.on("GET /api/events", stream("id: 2\nretry: 2000\n\n", block(event(3))))
    with pytest.raises(Enough):
        events(["-f", "--json"], sleep=Pauses(0))
    assert [json.loads(text)["eventId"] for text in capsys.readouterr().out.splitlines()] == [1, 2, 3]
    assert server.asked[1].headers["last-event-id"] == "2"
    assert server.asked[1].headers["accept"] == "text/event-stream"


def test_follow_cut_off_goes_on_behind_the_last_event_seen(server: ScriptedServer) -> None:
    server.on(
        "GET /api/events",
        stream("id: 9\n\n"),
        stream(block(event(10)), block(event(11))[:-20]),
        stream(block(event(11))),
    )
    assert ids(None, Pauses(2)) == [10, 11]
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "9", "10"]


def test_follow_pauses_longer_each_time_until_an_event_comes(server: ScriptedServer) -> None:
    down = problem(503, "the control plane is ending")
    server.on("GET /api/events", stream("id: 1\n\n"), *[down] * 6, stream(block(event(2))), down)
    pauses = Pauses(9)
    assert ids(None, pauses) == [2]
    assert pauses.taken == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 0.5, 1.0]


def test_follow_not_reachable_at_first_fails_at_once(server: ScriptedServer) -> None:
    with pytest.raises(UnreachableError):
        next(follow(Rest("http://127.0.0.1:1"), None, Pauses(0)))


def test_follow_refused_fails_even_later(server: ScriptedServer) -> None:
    server.on("GET /api/events", stream(block(event(1))), problem(400, "Last-Event-ID is 'x'"))
    with pytest.raises(RefusedError, match="Last-Event-ID is 'x'"):
        list(follow(Rest(), None, Pauses(1)))


def test_follow_over_a_gap_says_so_and_goes_on(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    gap = 'id: 50\nevent: gap\ndata: {"lastEventId": 1, "resumedAfterEventId": 50}\n\n'
    server.on("GET /api/events", stream(gap, block(event(51))))
    assert ids("1", Pauses(0)) == [51]
    assert "some events were missed" in capsys.readouterr().err


def test_follow_event_that_is_no_object_is_refused(server: ScriptedServer) -> None:
    server.on("GET /api/events", stream("data: [1]\n\n"))
    with pytest.raises(OperationError, match="no JSON object"):
        next(follow(Rest(), None, Pauses(0)))
