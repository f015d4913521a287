"""Workers that have departed are listed on request over REST, and can be cordoned and uncordoned
(DESIGN 59)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minicloud.core.commands import Cordon, Deregister, Heartbeat
from tests.unit.control.rest.kit import Rest


@pytest.fixture
async def rest() -> Rest:
    """Return a REST side with two workers, of which `gone` has departed, cordoned."""
    rest = Rest()
    rest.register("here", "gone")
    rest.membership.execute(Cordon("gone", "its disk"))
    rest.membership.execute(Deregister("gone", "SIGTERM"))
    return rest


async def listed(rest: Rest, query: str = "") -> list[dict[str, Any]]:
    response = await rest.client.get(f"/api/workers{query}")
    assert response.status_code == 200
    found: list[dict[str, Any]] = json.loads(await response.get_data())
    return found


async def test_list_has_departed_workers_only_where_offline_is_asked_for(rest: Rest) -> None:
    assert [worker["workerId"] for worker in await listed(rest)] == ["here"]
    (worker,) = await listed(rest, "?status=offline")
    assert worker["workerId"] == "gone"
    assert worker["status"] == "OFFLINE"
    assert worker["statusReason"] == "SIGTERM"
    assert worker["statusAgeMs"] >= 0
    assert (worker["adminState"], worker["adminReason"]) == ("CORDONED", "its disk")
    assert worker["schedulable"] is False
    assert worker["endpoint"] == "gone.example:9091"


async def test_list_of_departed_workers_names_its_next_page(rest: Rest) -> None:
    rest.register("gone-2")
    rest.membership.execute(Deregister("gone-2"))
    response = await rest.client.get("/api/workers?status=OFFLINE&limit=1")
    assert [worker["workerId"] for worker in json.loads(await response.get_data())] == ["gone"]
    path = response.headers["Link"].partition("<")[2].partition(">")[0]
    response = await rest.client.get(path)
    assert [worker["workerId"] for worker in json.loads(await response.get_data())] == ["gone-2"]
    assert "Link" not in response.headers


async def test_departed_worker_is_not_found_by_its_id_and_not_counted(rest: Rest) -> None:
    assert (await rest.client.get("/api/workers/gone")).status_code == 404
    assert (await rest.client.delete("/api/workers/gone")).status_code == 404
    stats = json.loads(await (await rest.client.get("/api/workers/stats")).get_data())
    assert (stats["totalWorkers"], stats["drainingWorkers"]) == (1, 0)


async def test_departed_worker_is_uncordoned_and_cordoned_again(rest: Rest) -> None:
    for act, state in (("uncordon", "ACTIVE"), ("cordon", "CORDONED")):
        response = await rest.client.post(f"/api/workers/gone/{act}", json={"reason": "ops"})
        assert response.status_code == 200
        worker = json.loads(await response.get_data())
        assert (worker["status"], worker["adminState"], worker["adminReason"]) == ("OFFLINE", state, "ops")
    rest.register("gone")
    response = await rest.client.get("/api/workers/gone")
    assert json.loads(await response.get_data())["status"] == "DRAINING"


async def test_departed_worker_cannot_be_drained(rest: Rest) -> None:
    response = await rest.client.post("/api/workers/gone/drain")
    assert response.status_code == 400
    assert "is OFFLINE and has nothing to drain" in json.loads(await response.get_data())["detail"]


async def test_worker_that_shuts_down_is_shown_draining_and_not_schedulable(rest: Rest) -> None:
    rest.membership.execute(Heartbeat("here", leaving=True))
    (worker,) = await listed(rest, "?status=draining")
    assert worker["workerId"] == "here"
    assert (worker["statusReason"], worker["adminState"]) == ("shutting down", "ACTIVE")
    assert worker["schedulable"] is False
    response = await rest.client.get("/api/workers/healthy")
    assert json.loads(await response.get_data()) == []


async def test_one_worker_past_its_deadline_is_unhealthy_though_nothing_swept(
    rest: Rest, autojump_clock: Any
) -> None:
    autojump_clock.jump(120.0)
    response = await rest.client.get("/api/workers/here")
    assert json.loads(await response.get_data())["status"] == "UNHEALTHY"
