"""`/api/events` in memory answers with the history, and with the stream event by event."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from minicloud.control.rest.events import KEEP_ALIVE_S, EventStream
from minicloud.core.commands import Drain
from tests.unit.control.rest.kit import Rest, json_of, problem_of


def stream_of(rest: Rest, after: int | None = None) -> EventStream:
    return EventStream(rest.feed.follow(after), rest.membership.durable)


def parsed(chunk: bytes) -> list[tuple[int, str, Any]]:
    """Return the events in a chunk of a stream, as id, type and data."""
    events = []
    for block in chunk.decode().removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((int(fields["id"]), fields["event"], msgspec.json.decode(fields["data"])))
    return events


async def test_history_shows_the_newest_last_in_the_shape_of_the_contract() -> None:
    rest = Rest()
    rest.register("w1")
    await rest.client.post("/api/workers/w1/drain", headers={"x-request-id": "ops-7"})
    events = await json_of(await rest.client.get("/api/events"))
    assert [event["eventId"] for event in events] == [1, 2]
    assert events[0]["kind"] == "registered"
    assert events[0]["detail"] == "new"
    assert events[1].pop("atMs") > 1_600_000_000_000
    assert events[1] == {
        "eventId": 2,
        "kind": "draining",
        "detail": "",
        "workerId": "w1",
        "incarnation": 1,
        "endpoint": "w1.example:9091",
        "oldStatus": "HEALTHY",
        "newStatus": "DRAINING",
        "reason": "draining for an operator",
        "requestId": "ops-7",
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", range(51, 151)),
        ("?limit=2", [149, 150]),
        ("?limit=1000", range(1, 151)),
        ("?after=148", [149, 150]),
        ("?after=0&limit=2", [1, 2]),
        ("?last_event_id=149", [150]),
        ("?after=9223372036854775807", []),
    ],
)
async def test_history_is_limited_and_goes_on_behind_an_id(query: str, expected: list[int]) -> None:
    rest = Rest()
    rest.register(*(f"w{number:03}" for number in range(150)))
    events = await json_of(await rest.client.get(f"/api/events{query}"))
    assert [event["eventId"] for event in events] == list(expected)


@pytest.mark.parametrize(
    ("query", "headers", "said"),
    [
        ("?after=-1", {}, "after is '-1'"),
        ("?after=9223372036854775808", {}, "9223372036854775807"),
        ("?last_event_id=x", {}, "last_event_id is 'x'"),
        ("?limit=0", {}, "limit is '0'"),
        ("?since=1", {}, "limit, after or last_event_id"),
        ("", {"Last-Event-ID": "x"}, "Last-Event-ID is 'x'"),
        ("", {"Last-Event-ID": "9" * 30}, "9223372036854775807"),
    ],
)
async def test_wrong_id_is_refused_and_the_right_one_named(
    query: str, headers: dict[str, str], said: str
) -> None:
    response = await Rest().client.get(f"/api/events{query}", headers=headers)
    assert said in (await problem_of(response, 400))["detail"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, */*", "text/event-stream"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html", "application/json"),
    ],
)
async def test_form_is_the_one_asked_for(accept: str, content_type: str) -> None:
    with trio.fail_after(5):  # a HEAD of a stream must end
        response = await Rest().client.head("/api/events", headers={"Accept": accept})
    assert response.content_type.split(";")[0] == content_type
    assert response.headers["Vary"] == "Accept"


async def test_stream_begins_with_an_id_to_resume_from(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    assert (await anext(stream_of(rest))).startswith(b"id: 1\nretry: ")


async def test_stream_tells_each_event_with_its_id_kind_and_data() -> None:
    rest = Rest()
    rest.register("w1")
    rest.membership.execute(Drain("w1"))
    stream = stream_of(rest, after=0)
    await anext(stream)
    events = parsed(await anext(stream))
    assert [(event_id, kind) for event_id, kind, _ in events] == [(1, "registered"), (2, "draining")]
    assert events[1][2]["newStatus"] == "DRAINING"


async def test_stream_of_nothing_is_kept_alive(autojump_clock: MockClock) -> None:
    stream = stream_of(Rest())
    await anext(stream)
    for _ in range(3):
        begun_s = trio.current_time()
        assert await anext(stream) == b": keep-alive\n\n"
        assert trio.current_time() - begun_s == KEEP_ALIVE_S


async def test_stream_read_too_slowly_is_told_of_the_gap() -> None:
    rest = Rest(capacity=3)
    stream = stream_of(rest, after=0)
    await anext(stream)
    rest.register(*(f"w{number}" for number in range(5)))
    ((resumed_id, kind, gap),) = parsed(await anext(stream))
    assert (resumed_id, kind) == (2, "gap")
    assert gap == {"lastEventId": 0, "resumedAfterEventId": 2}
    assert [event_id for event_id, _, _ in parsed(await anext(stream))] == [3, 4, 5]


async def test_nothing_is_told_before_it_is_durable(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.store.gate = trio.Event()
    stream = stream_of(rest, after=0)
    await anext(stream)
    rest.register("w1")
    for _ in range(3):
        assert await anext(stream) == b": keep-alive\n\n"
    with trio.move_on_after(60) as waiting:
        await rest.client.get("/api/events")
    assert waiting.cancelled_caught
    rest.store.gate.set()
    assert [kind for _, kind, _ in parsed(await anext(stream))] == ["registered"]


async def test_history_of_a_store_that_cannot_write_ends_with_what_is_durable(
    autojump_clock: MockClock,
) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.fault = "the disk is full"
    await trio.sleep(120)  # the worker falls silent
    assert len(rest.membership.sweep_due()) == 1
    assert rest.feed.last_event_id == 2
    assert [event["eventId"] for event in await json_of(await rest.client.get("/api/events"))] == [1]
    rest.store.fault, rest.store.durable_event_id = "", 2
    assert [event["eventId"] for event in await json_of(await rest.client.get("/api/events"))] == [1, 2]


async def test_stream_over_a_store_that_cannot_write_waits_and_misses_nothing(
    autojump_clock: MockClock,
) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.fault = "the disk is full"
    stream = stream_of(rest, after=0)
    await anext(stream)
    for _ in range(3):
        assert await anext(stream) == b": keep-alive\n\n"
    rest.store.fault = ""
    assert [event_id for event_id, _, _ in parsed(await anext(stream))] == [1]
    assert await anext(stream) == b": keep-alive\n\n"  # and once only


async def test_stream_ends_as_stopping_begins(autojump_clock: MockClock) -> None:
    rest = Rest()
    stream = stream_of(rest)
    await anext(stream)

    async def stop() -> None:
        await trio.sleep(1)
        rest.readiness.begin_stopping()

    begun_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert trio.current_time() - begun_s == 1
