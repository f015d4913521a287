"""REST over a store that cannot write refuses changes and answers reads (DESIGN 79)."""

from __future__ import annotations

import pytest

from minicloud.control.rest.problems import RETRY_AFTER_S
from minicloud.core.errors import StoreUnavailableError
from tests.unit.control.rest.kit import Rest, json_of, problem_of
from tests.unit.logged import logged

FULL = "cannot write registry.db: disk full"


@pytest.mark.parametrize("action", ["cordon", "drain", "remove"])
async def test_change_is_refused_for_now_without_an_effect_and_logs_no_failure(action: str) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.fault = FULL
    with logged() as lines:
        if action == "remove":
            answer = await rest.client.delete("/api/workers/w1")
        else:
            answer = await rest.client.post(f"/api/workers/w1/{action}")
    assert (await problem_of(answer, 503))["detail"] == FULL
    assert answer.headers["Retry-After"] == str(RETRY_AFTER_S)
    assert (await json_of(await rest.client.get("/api/workers/w1")))["adminState"] == "ACTIVE"
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_copy_that_cannot_be_made_now_is_refused_for_now() -> None:
    async def refuse() -> None:
        raise StoreUnavailableError(FULL)

    answer = await Rest(copies=refuse).client.post("/api/registry/backup")  # type: ignore[arg-type]
    await problem_of(answer, 503)
    assert answer.headers["Retry-After"] == str(RETRY_AFTER_S)


async def test_readiness_names_the_fault_without_a_line_for_each_probe_and_liveness_goes_on() -> None:
    rest = Rest()
    rest.readiness.mark_ready()
    rest.readiness.fault = FULL
    with logged() as lines:
        assert (await problem_of(await rest.client.get("/readyz"), 503))["detail"] == FULL
    assert not [line for line in lines if line["log_level"] in ("warning", "error")]
    assert (await rest.client.get("/livez")).status_code == 200
    rest.readiness.fault = ""
    assert await json_of(await rest.client.get("/readyz")) == {"status": "ready"}
