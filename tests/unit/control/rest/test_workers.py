"""`/api/workers` in memory has its shapes, pages, refusals, and operators' changes."""

from __future__ import annotations

import re

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from minicloud.core.commands import Cordon, Drain, Register, Remove
from minicloud.core.model import WorkerId
from tests.unit.control.rest.kit import HttpClient, Rest, json_of, problem_of

WORKER_FIELDS = {
    "workerId", "endpoint", "status", "resources", "lastHeartbeatMs", "metadata", "registeredAtMs",
    "incarnation", "heartbeatAgeMs", "statusReason", "statusSinceMs", "statusAgeMs", "adminState",
    "adminReason", "schedulable", "zone",
}  # fmt: skip


async def test_worker_is_shown_in_the_shape_of_the_contract(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    autojump_clock.jump(2.5)
    rest.membership.execute(Cordon("w1"))
    autojump_clock.jump(1.5)
    worker = await json_of(await rest.client.get("/api/workers/w1"))
    assert set(worker) == WORKER_FIELDS
    assert worker["resources"] == {
        "cpuCores": 8,
        "memoryMb": 1024,
        "diskMb": 2048,
        "activeQueries": 3,
        "cpuUtilization": 0.25,
        "memoryUtilization": 0.5,
        "memoryUsedMb": 512,
        "diskUsedMb": 1024,
    }
    assert worker["workerId"] == "w1"
    assert worker["endpoint"] == "w1.example:9091"
    assert worker["status"] == "DRAINING"
    assert worker["adminState"] == "CORDONED"
    assert worker["adminReason"] == "cordoned by an operator"
    assert worker["schedulable"] is False
    assert worker["statusReason"] == "cordoned by an operator"
    assert worker["heartbeatAgeMs"] == 4000
    assert worker["statusAgeMs"] == 1500
    assert worker["statusSinceMs"] - worker["registeredAtMs"] == 2500
    assert worker["lastHeartbeatMs"] == worker["registeredAtMs"] > 1_600_000_000_000
    assert worker["incarnation"] == 1
    assert worker["metadata"] == {"zone": "a"}
    assert worker["zone"] == "a"


async def test_list_of_no_workers_is_an_empty_array() -> None:
    response = await Rest().client.get("/api/workers")
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert await json_of(response) == []
    assert "Link" not in response.headers


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["w1", "w2", "w3"]),
        ("?status=HEALTHY", ["w1", "w3"]),
        ("?status=healthy", ["w1", "w3"]),
        ("?status=Draining", ["w2"]),
        ("?status=unhealthy", []),
        ("?status=OFFLINE", []),
        ("?limit=2", ["w1", "w2"]),
        ("?limit=2147483647", ["w1", "w2", "w3"]),
    ],
)
async def test_list_is_filtered_and_limited(query: str, expected: list[str]) -> None:
    rest = Rest()
    rest.register("w3", "w1", "w2")
    rest.membership.execute(Drain("w2"))
    workers = await json_of(await rest.client.get(f"/api/workers{query}"))
    assert [worker["workerId"] for worker in workers] == expected


async def test_healthy_workers_are_those_that_may_be_given_work(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.register("silent")
    autojump_clock.jump(60)
    rest.register("w1", "w2")
    rest.membership.execute(Cordon("w2"))
    autojump_clock.jump(60)
    workers = await json_of(await rest.client.get("/api/workers/healthy"))
    assert [worker["workerId"] for worker in workers] == ["w1"]


@pytest.mark.parametrize("path", ["/api/workers", "/api/workers/healthy", "/api/workers?status=healthy"])
async def test_pages_linked_to_each_other_hold_every_worker_once(path: str) -> None:
    rest = Rest()
    ids = [f"w{number}" for number in range(7)]
    rest.register(*ids)
    if "healthy" in path:
        rest.register("w4-draining")
        rest.membership.execute(Drain("w4-draining"))
    found: list[str] = []
    target = f"{path}{'&' if '?' in path else '?'}limit=3"
    for _ in range(3):
        response = await rest.client.get(target)
        found.extend(worker["workerId"] for worker in await json_of(response))
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        if link is None:
            break
        target = link[1]
    assert found == ids
    assert link is None


async def test_page_after_a_worker_that_left_goes_on_where_it_was() -> None:
    rest = Rest()
    rest.register("w1", "w2", "w3")
    response = await rest.client.get("/api/workers?limit=2")
    rest.membership.execute(Remove("w2"))
    link = response.headers["Link"].split(";")[0].strip("<>")
    assert [worker["workerId"] for worker in await json_of(await rest.client.get(link))] == ["w3"]


async def test_long_list_is_made_while_it_is_sent_and_stays_one_array() -> None:
    rest = Rest()
    ids = [f"w{number:05}" for number in range(3_000)]
    rest.register(*ids)
    async with rest.served() as port, HttpClient.connected(port) as client:
        await client.send("GET", "/api/workers?limit=2999")
        answer = await client.receive_head()
        while data := await client.receive_data():
            if not answer.body:  # workers that come and go after the first piece break nothing
                rest.membership.execute(Remove(ids[0]))
                rest.membership.execute(Remove(ids[2_900]))
                rest.register("w02900-new")
            answer.body += data
        listed = [worker["workerId"] for worker in msgspec.json.decode(bytes(answer.body))]
        assert "content-length" not in answer.headers
        assert 'rel="next"' in answer.headers["link"]
        assert listed == [worker_id for worker_id in ids[:2999] if worker_id != ids[2_900]]
        short = await client.request("GET", "/api/workers?limit=30")  # the connection stays open
        assert short.headers["content-length"] == str(len(short.body))
        assert len(msgspec.json.decode(bytes(short.body))) == 30
        head = await client.request("HEAD", "/api/workers")
        assert (head.status, bytes(head.body)) == (200, b"")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/api/workers?status=SLEEPY", ["'SLEEPY'", "HEALTHY, UNHEALTHY, DRAINING, OFFLINE"]),
        ("/api/workers?status=", ["status", "HEALTHY"]),
        ("/api/workers?limit=0", ["limit is '0'", "from 1"]),
        ("/api/workers?limit=-1", ["limit", "from 1"]),
        ("/api/workers?limit=2147483648", ["limit", "2147483647"]),
        ("/api/workers?limit=many", ["limit is 'many'", "whole number"]),
        ("/api/workers?limit=1.5", ["limit", "whole number"]),
        ("/api/workers?limit=null", ["limit", "whole number"]),
        ("/api/workers?limit=" + "9" * 5000, ["limit", "whole number"]),
        ("/api/workers?limit=1&limit=2", ["limit is given 2 times"]),
        ("/api/workers?page_token=%21", ["page_token"]),
        ("/api/workers?page_token=abc", ["page_token"]),
        ("/api/workers?state=HEALTHY", ["'state'", "status, limit or page_token"]),
        ("/api/workers/healthy?status=HEALTHY", ["'status'", "limit or page_token"]),
        ("/api/workers/stats?limit=1", ["'limit'", "none"]),
        ("/api/workers/w1?x=1", ["'x'", "none"]),
    ],
)
async def test_wrong_parameter_is_refused_and_the_right_ones_named(target: str, said: list[str]) -> None:
    rest = Rest()
    rest.register("w1")
    problem = await problem_of(await rest.client.get(target), 400)
    for words in said:
        assert words in problem["detail"]
    assert len(problem["detail"]) < 300


async def test_stats_count_and_measure_the_cluster(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1", "w2", "w3")
    rest.membership.execute(Drain("w3"))
    autojump_clock.jump(5)
    assert await json_of(await rest.client.get("/api/workers/stats")) == {
        "totalWorkers": 3,
        "healthyWorkers": 2,
        "unhealthyWorkers": 0,
        "drainingWorkers": 1,
        "totalCpuCores": 24,
        "totalMemoryMb": 3072,
        "usedMemoryMb": 1536,
        "activeQueries": 9,
        "meanCpuUtilization": 0.25,
        "maxCpuUtilization": 0.25,
        "meanMemoryUtilization": 0.5,
        "maxMemoryUtilization": 0.5,
        "oldestHeartbeatAgeMs": 5000,
    }


async def test_unknown_worker_is_not_found_whatever_is_asked_of_it() -> None:
    client = Rest().client
    for response in (
        await client.get("/api/workers/nobody"),
        await client.delete("/api/workers/nobody"),
        await client.post("/api/workers/nobody/cordon"),
        await client.post("/api/workers/nobody/uncordon"),
        await client.post("/api/workers/nobody/drain"),
    ):
        assert "'nobody'" in (await problem_of(response, 404))["detail"]


async def test_operator_cordons_drains_and_takes_it_back() -> None:
    rest = Rest()
    rest.register("w1")
    for action, state in (("cordon", "CORDONED"), ("drain", "DRAINING"), ("uncordon", "ACTIVE")):
        response = await rest.client.post(f"/api/workers/w1/{action}")
        assert response.status_code == 200
        assert (await json_of(response))["adminState"] == state


async def test_operators_reason_is_shown_with_the_worker_and_its_event() -> None:
    rest = Rest()
    rest.register("w1")
    for action, reason in (("cordon", "Zürich: disk\n50%"), ("drain", "x" * 256), ("uncordon", "mended")):
        response = await rest.client.post(f"/api/workers/w1/{action}", json={"reason": reason})
        worker = await json_of(response)
        assert worker["adminReason"] == reason
        assert worker["statusReason"] == ("registered" if action == "uncordon" else reason)
        (event,) = await json_of(await rest.client.get("/api/events?limit=1"))
        assert event["reason"] == reason


async def test_reason_of_a_removal_is_kept_and_a_wrong_one_removes_nothing() -> None:
    rest = Rest()
    rest.register("w1")
    client = rest.client
    refused = await client.delete("/api/workers/w1", json={"raeson": "x"})
    assert "field 'raeson' is not known: use reason" in (await problem_of(refused, 422))["detail"]
    assert (await client.get("/api/workers/w1")).status_code == 200
    assert (await client.delete("/api/workers/w1", json={"reason": "sold"})).status_code == 204
    assert (await client.get("/api/workers/w1")).status_code == 404
    event = (await json_of(await client.get("/api/events")))[-1]
    assert (event["kind"], event["detail"], event["reason"]) == ("departed", "removed", "sold")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": ""}'])
async def test_operator_without_a_reason_is_recorded_with_what_was_done(body: bytes) -> None:
    rest = Rest()
    rest.register("w1")
    response = await rest.client.post("/api/workers/w1/cordon", data=body)
    assert (await json_of(response))["adminReason"] == "cordoned by an operator"


_REASON = "reason must be a string of at most 256 characters"


@pytest.mark.parametrize("action", ["cordon", "uncordon", "drain"])
@pytest.mark.parametrize(
    ("body", "content_type", "status", "said"),
    [
        (b"{", "application/json", 400, "is not JSON"),
        (b'{"reason": "\xff"}', "application/json", 400, "is not JSON"),
        (b"reason=x", "", 400, "is not JSON"),
        (b"{} {}", "application/json", 400, "is not JSON"),
        (b"reason=x", "application/x-www-form-urlencoded", 415, "send application/json"),
        (b'{"reason": 5}', "application/json", 422, f"reason is not right: {_REASON}"),
        (b'{"reason": null}', "application/json; charset=utf-8", 422, f"reason is not right: {_REASON}"),
        (b'{"reason": "%b"}' % (b"x" * 257), "application/json", 422, f"reason is not right: {_REASON}"),
        (b'{"reason": "%b"}' % (b"x" * 900_000), "application/json", 422, _REASON),
        (b"{}" + b" " * 20_000, "application/json", 422, "has more than 16384 bytes"),
        (b'{"raeson": "x"}', "application/json", 422, "field 'raeson' is not known: use reason"),
        (b'{"%b": 1}' % (b"y" * 300), "application/json", 422, f"field '{'y' * 61}...' is not known"),
        (b'["reason"]', "application/json", 422, "the body is not an object"),
    ],
    ids=lambda value: value[:20].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_reason_that_is_wrong_is_refused_and_changes_nothing(
    action: str, body: bytes, content_type: str, status: int, said: str
) -> None:
    rest = Rest()
    rest.register("w1")
    rest.membership.execute(Cordon("w1"))
    headers = {"content-type": content_type} if content_type else {}
    response = await rest.client.post(f"/api/workers/w1/{action}", data=body, headers=headers)
    assert said in (await problem_of(response, status))["detail"]
    worker = await json_of(await rest.client.get("/api/workers/w1"))
    assert (worker["adminState"], worker["adminReason"]) == ("CORDONED", "cordoned by an operator")


async def test_removed_worker_is_gone() -> None:
    rest = Rest()
    rest.register("w1")
    response = await rest.client.delete("/api/workers/w1")
    assert response.status_code == 204
    assert await response.get_data() == b""
    await problem_of(await rest.client.get("/api/workers/w1"), 404)


async def test_change_is_answered_once_it_is_durable(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1", "w2")
    rest.store.gate = trio.Event()
    answered: list[int] = []

    async def change(method: str, target: str) -> None:
        answered.append((await rest.client.open(target, method=method)).status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change, "POST", "/api/workers/w1/drain")
        nursery.start_soon(change, "DELETE", "/api/workers/w2")
        await wait_all_tasks_blocked()
        assert len(rest.store.changes) == 4
        assert answered == []
        rest.store.gate.set()
    assert sorted(answered) == [200, 204]


async def test_change_keeps_the_id_of_the_request_that_made_it() -> None:
    rest = Rest()
    rest.register("w1")
    await rest.client.post("/api/workers/w1/drain", headers={"x-request-id": "ops-7"})
    entry = rest.store.changes[-1].entry
    assert entry is not None
    assert entry.request_id == "ops-7"


@pytest.mark.parametrize("name", ["stats", "healthy"])
async def test_fixed_path_is_no_workers(name: str) -> None:
    client = Rest().client
    response = await client.delete(f"/api/workers/{name}")
    await problem_of(response, 405)
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    allowed = (await client.options(f"/api/workers/{name}")).headers["Allow"]
    assert sorted(allowed.split(", ")) == ["GET", "HEAD", "OPTIONS"]
    await problem_of(await client.post(f"/api/workers/{name}/drain"), 404)


@pytest.mark.parametrize("worker_id", ["stats-1", "unhealthy", "STATS", "..."])
async def test_id_like_a_fixed_path_is_a_workers(worker_id: str) -> None:
    rest = Rest()
    rest.register(worker_id)
    response = await rest.client.post(f"/api/workers/{worker_id}/cordon")
    assert (await json_of(response))["workerId"] == worker_id


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    rest = Rest()
    rest.register("w1")
    response = await rest.client.head("/api/workers/w1")
    assert response.status_code == 200
    assert response.content_type == "application/json"


async def test_odd_text_in_metadata_comes_out_as_it_went_in() -> None:
    rest = Rest()
    metadata = {"zone": "", "note": '\u2028 " \\ \n é \U0001f600'}
    rest.membership.execute(
        Register(endpoint="[fd00::7]:9091", generated_id=WorkerId("w1"), metadata=metadata)
    )
    worker = await json_of(await rest.client.get("/api/workers/w1"))
    assert worker["metadata"] == metadata
    assert worker["zone"] == "default"
