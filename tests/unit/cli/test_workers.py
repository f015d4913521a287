from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from minicloud.__main__ import main
from minicloud.cli.text import width
from tests.terminal import Terminal
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
    said = "minicloud: no worker 'w-9' is registered: minicloud workers lists those there are\n"
    assert run(capsys, "workers", "w-9") == (1, "", said)
    server.on("GET /api/workers?limit=1000", Answer([worker("other")]))
    assert run(capsys, "workers", "w-9") == (1, "", said)


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("wroker-1", "worker-1"),
        ("WORKER-12", "worker-12"),
        ("worker-1.example", "worker-1.example.org"),
        ("db", "db-7f3a9c"),
    ],
)
def test_worker_not_there_names_the_nearest(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], typed: str, near: str
) -> None:
    ids = ["worker-1", "worker-12", "worker-1.example.org", "db-7f3a9c", "elsewhere"]
    server.on("GET /api/workers?limit=1000", Answer([worker(each) for each in ids]))
    for request in (f"GET /api/workers/{typed}", f"POST /api/workers/{typed}/cordon"):
        server.on(request, problem(404, "no such worker"))
    for words in (["workers", typed], ["cordon", typed], ["drain", typed, "--wait"], ["remove", typed]):
        code, out, err = run(capsys, *words)
        assert (code, out) == (1, "")
        assert err.startswith(f"minicloud: no such worker: did you mean {near}")
        assert "elsewhere" not in err


def test_worker_not_there_for_a_proxy_gets_no_suggestion(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers/w-9", Answer(b"<html>", 404, content_type="text/html"))
    assert "is that a MiniCloud control plane?" in run(capsys, "workers", "w-9")[2]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("healty", "did you mean healthy?"),
        ("UNHEALTY", "did you mean unhealthy?"),
        ("drained", "did you mean draining?"),
        ("x", "give healthy, unhealthy, draining or offline"),
        ("", "give healthy, unhealthy, draining or offline"),
    ],
)
def test_workers_of_a_status_that_is_none_is_a_usage_error(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], status: str, hint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["workers", "--status", status])
    assert ended.value.code == 2
    assert f"--status: {status!r} is not a status: {hint} (see" in capsys.readouterr().err
    assert server.asked == []


def test_workers_are_in_the_order_in_which_people_count(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["w-1", "w-10", "w-2"]
    server.on("GET /api/workers?limit=1000", Answer([worker(each) for each in ids]))
    _, out, _ = run(capsys, "workers")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["w-1", "w-2", "w-10"]
    _, out, _ = run(capsys, "workers", "--json")
    assert [shown["workerId"] for shown in json.loads(out)] == ids


def test_workers_with_wide_and_control_characters_line_up_and_steer_nothing(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = worker(
        "w-2", zone="区域\x1b]0;x\x07", status="UNHEALTHY", statusReason="\x1b[31mred\r\n\u202eoops\x9b2J"
    )
    server.on("GET /api/workers?limit=1000", Answer([worker("w-1"), bad]))
    server.on("GET /api/workers/w-2", Answer(bad | {"incarnation": "\x1b[2J", "adminState": "\x1b[2J"}))
    _, out, _ = run(capsys, "workers")
    lines = out.splitlines()
    assert len(lines) == 3
    column = width(lines[0][: lines[0].index("ENDPOINT")])
    for line, endpoint in zip(lines[1:], ("w-1.example", "w-2.example"), strict=True):
        assert width(line[: line.index(endpoint)]) == column
    out += run(capsys, "workers", "w-2")[1]
    assert all(char.isprintable() or char == "\n" for char in out)


@pytest.mark.parametrize(
    ("columns", "gone"),
    [
        (200, []),
        (90, ["SEEN"]),
        (80, ["SEEN", "SINCE"]),
        (60, ["SEEN", "SINCE", "ZONE", "MEMORY"]),
        (40, ["SEEN", "SINCE", "ZONE", "MEMORY", "CPU", "ENDPOINT"]),
    ],
)
def test_workers_on_a_narrow_terminal_lack_what_matters_least(
    server: ScriptedServer, columns: int, gone: list[str]
) -> None:
    names = ["worker-1", "worker-2"]
    ill = (
        worker("worker-2", status="UNHEALTHY", statusReason="no heartbeat for 120 s")
        if columns > 90
        else None
    )
    server.on("GET /api/workers?limit=1000", Answer([ill or worker(name) for name in names]))
    env = {**os.environ, "MINICLOUD_URL": server.url, "NO_COLOR": "1"}
    env.pop("COLUMNS", None)
    with Terminal([sys.executable, "-m", "minicloud", "workers"], env=env, columns=columns) as terminal:
        assert terminal.exit_code() == 0
        lines = terminal.shown.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) == 3
    everything = {"WORKER", "STATUS", "SINCE", "ZONE", "ENDPOINT", "CPU", "MEMORY", "QUERIES", "SEEN"}
    assert everything - set(lines[0].split()) == set(gone)


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
    "answer",
    [
        {},
        {"resources": None, "metadata": None},
        {"workerId": 7, "statusAgeMs": 1.5, "registeredAtMs": 10**20},
        {"statusAgeMs": None, "resources": {"cpuUtilization": None, "memoryMb": "many", "activeQueries": []}},
    ],
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
