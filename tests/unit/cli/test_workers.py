from __future__ import annotations

import json
from typing import Any

import pytest

from minicloud.__main__ import main
from tests.unit.cli.server import Answer, ScriptedServer, problem, worker

TABLE = """\
WORKER  STATUS                SINCE  ZONE  ENDPOINT               CPU        MEMORY  QUERIES  SEEN  REASON
w-1     HEALTHY                  2h  eu-1  w-1.example:9091  25% of 8  50% of 15.6G        3   12s
w-2     UNHEALTHY (cordoned)    60s  eu-1  w-2.example:9091  25% of 8  50% of 15.6G        3    3m  silent
"""

STATS = {
    "totalWorkers": 3,
    "healthyWorkers": 2,
    "unhealthyWorkers": 1,
    "drainingWorkers": 0,
    "totalCpuCores": 24,
    "totalMemoryMb": 48000,
    "usedMemoryMb": 24000,
    "activeQueries": 9,
    "meanCpuUtilization": 0.25,
    "maxCpuUtilization": 0.5,
    "meanMemoryUtilization": 0.1,
    "maxMemoryUtilization": 0.2,
    "oldestHeartbeatAgeMs": 130_000,
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_workers_are_a_table_with_ages_and_percent(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ill = worker(
        "w-2", status="UNHEALTHY", adminState="CORDONED", statusReason="silent",
        heartbeatAgeMs=180_000, statusAgeMs=60_000, schedulable=False,
    )  # fmt: skip
    server.on("GET /api/workers?limit=1000", Answer([worker(), ill]))
    code, out, err = run(capsys, "workers")
    assert (code, err) == (0, "")
    assert out == TABLE


def test_workers_of_one_status_are_asked_for_by_it_over_all_pages(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    next_page = {"link": '</api/workers?limit=1000&page_token=x&status=DRAINING>; rel="next"'}
    server.on("GET /api/workers?limit=1000&status=draining", Answer([worker("a")], headers=next_page))
    server.on("GET /api/workers?limit=1000&page_token=x&status=DRAINING", Answer([worker("b")]))
    code, out, _ = run(capsys, "workers", "--status", "draining", "--json")
    assert code == 0
    assert json.loads(out) == [worker("a"), worker("b")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no workers are registered: start one with minicloud --worker\n"),
        (("--status", "unhealthy"), "no worker is UNHEALTHY\n"),
    ],
)
def test_workers_none_there_says_so_beside_the_output(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    server.on("GET /api/workers?limit=1000", Answer([]))
    server.on("GET /api/workers?limit=1000&status=unhealthy", Answer([]))
    assert run(capsys, "workers", *arguments) == (0, "", message)


def test_workers_none_there_as_json_is_an_empty_list(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers?limit=1000", Answer([]))
    assert run(capsys, "workers", "--json") == (0, "[]\n", "")


def test_worker_by_id_is_shown_in_full(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET /api/workers/w-1", Answer(worker(metadata={"zone": "eu-1", "x": "\x1b[2J"})))
    code, out, _ = run(capsys, "workers", "w-1")
    assert code == 0
    assert "\x1b" not in out
    assert [line.split(maxsplit=1) for line in out.splitlines()][:4] == [
        ["worker", "w-1"],
        ["status", "HEALTHY for 2h: registered"],
        ["new", "work        yes"],
        ["endpoint", "w-1.example:9091"],
    ]
    assert "memory          7.8G of 15.6G used (50%)" in out
    assert "last heartbeat  12s ago (2023-11-14 22:13:32Z)" in out
    assert "  x             \\x1b[2J" in out


def test_worker_by_id_tells_what_operators_say_where_the_status_does_not(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = worker(
        status="UNHEALTHY", statusReason="silent", adminState="CORDONED", adminReason="disk \x1b[2J"
    )
    spared = silent | {"status": "DRAINING", "statusReason": "disk \x1b[2J"}
    server.on("GET /api/workers/w-1", Answer(silent), Answer(spared))
    _, out, _ = run(capsys, "workers", "w-1")
    assert "status          UNHEALTHY (cordoned) for 2h: silent\n" in out
    assert "operators say   disk \\x1b[2J\n" in out
    _, out, _ = run(capsys, "workers", "w-1")
    assert "status          DRAINING (cordoned) for 2h: disk \\x1b[2J\n" in out
    assert "operators say" not in out


@pytest.mark.parametrize("worker_id", ["stats", "a/b", "../x", ""])
def test_worker_by_an_id_that_cannot_be_asks_nobody(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], worker_id: str
) -> None:
    code, out, err = run(capsys, "cordon", worker_id)
    assert (code, out) == (2, "")
    assert err.startswith("minicloud: worker_id ")
    assert server.asked == []


def test_worker_not_there_is_the_apis_word_and_exit_code_1(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers/w-9", problem(404, "no worker 'w-9' is registered"))
    assert run(capsys, "workers", "w-9") == (1, "", "minicloud: no worker 'w-9' is registered\n")


def test_stats_are_a_few_lines(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET /api/workers/stats", Answer(STATS))
    assert run(capsys, "stats") == (
        0,
        "workers           3: 2 healthy, 1 unhealthy, 0 draining\n"
        "cores             24\n"
        "memory            23.4G of 46.9G used\n"
        "queries           9 active\n"
        "cpu               mean 25%, most 50% (healthy workers)\n"
        "memory use        mean 10%, most 20% (healthy workers)\n"
        "oldest heartbeat  2m ago\n",
        "",
    )


def test_stats_as_json_are_as_the_api_has_them(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers/stats", Answer(STATS))
    code, out, _ = run(capsys, "stats", "--json")
    assert (code, json.loads(out)) == (0, STATS)


@pytest.mark.parametrize(
    "answer", [{}, {"resources": None, "metadata": None}, {"workerId": 7, "statusAgeMs": 1.5}]
)
def test_workers_of_an_older_or_newer_api_are_shown_as_far_as_they_go(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], answer: dict[str, Any]
) -> None:
    server.on("GET /api/workers?limit=1000", Answer([answer]))
    server.on("GET /api/workers/w", Answer(answer))
    server.on("GET /api/workers/stats", Answer({}))
    assert run(capsys, "workers")[0] == 0
    assert run(capsys, "workers", "w")[0] == 0
    assert run(capsys, "stats")[0] == 0
