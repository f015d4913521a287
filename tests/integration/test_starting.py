"""Settings that cannot be used are refused before anything is served, in one line with the remedy.

The exit code is 2 where no retry helps and 1 where one may.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from minicloud.cli import exits
from tests.integration.processes import ControlPlane, Launcher
from tests.unit.store.files import SCHEMA_1

ANY_PORTS = ("--grpc-port", "0", "--http-port", "0")


def refusal(
    launch: Launcher, *arguments: str, env: Mapping[str, str] | None = None, code: int = exits.USAGE
) -> str:
    """Return the one line with which the program refuses to run."""
    process = launch.run(*arguments, env=env)
    assert process.exit_code() == code, process.stderr
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith("minicloud: ")
    return line.removeprefix("minicloud: ")


@pytest.mark.parametrize(("protocol", "flag"), [("gRPC", "--grpc-port"), ("HTTP", "--http-port")])
def test_control_plane_whose_port_is_taken_says_so_and_starts_nothing(
    launch: Launcher, protocol: str, flag: str
) -> None:
    taken = launch.taken_port()
    folder = launch.folder / "data"
    ports = {"--grpc-port": "0", "--http-port": "0", flag: str(taken)}
    arguments = (*(word for pair in ports.items() for word in pair), "--data-dir", str(folder))
    line = refusal(launch, *arguments, code=1)
    assert line == (
        f"{protocol} port {taken} on 127.0.0.1 is in use: stop the program that has it, "
        f"or choose another with {flag}"
    )
    assert list(folder.iterdir()) == []


def test_worker_whose_port_is_taken_says_so_and_registers_nowhere(
    launch: Launcher, shared: ControlPlane
) -> None:
    taken = launch.taken_port()
    worker = launch.worker(shared, "never", port=taken, data_dir=launch.folder / "data")
    assert worker.exit_code() == 1
    assert worker.stderr.splitlines() == [
        f"minicloud: gRPC port {taken} on 127.0.0.1 is in use: stop the program that has it, "
        "or choose another with --port"
    ]
    assert shared.events_of("never") == []
    assert not (launch.folder / "data" / "instance_id").exists()


@pytest.mark.parametrize("role", [ANY_PORTS, ("--worker", "--port", "0")])
def test_data_folder_that_is_a_file_is_refused(launch: Launcher, role: tuple[str, ...]) -> None:
    path = launch.folder / "file"
    path.write_text("something")
    assert refusal(launch, *role, "--data-dir", str(path)) == (
        f"the data folder {path} is a file: give another with --data-dir FOLDER, "
        "or --data-dir none to keep nothing"
    )
    assert path.read_text() == "something"


def test_data_folder_that_cannot_be_made_is_refused(launch: Launcher) -> None:
    # Not even root may make a folder there.
    line = refusal(launch, *ANY_PORTS, "--data-dir", "/proc/minicloud")
    assert re.fullmatch(r"cannot write to the data folder /proc/minicloud: .*: give another with .*", line)


def test_database_that_is_none_is_refused_and_left_as_it_is(launch: Launcher) -> None:
    path = launch.folder / "registry.db"
    path.write_bytes(b"no database at all " * 100)
    line = refusal(launch, *ANY_PORTS, "--data-dir", str(launch.folder))
    assert line.startswith(f"{path} is not a database: move it aside or name another --data-dir")
    assert path.read_bytes() == b"no database at all " * 100


def test_database_of_a_newer_version_is_refused_by_the_name_of_that_version(launch: Launcher) -> None:
    control_plane = launch.control_plane(data_dir=launch.folder)
    assert control_plane.end() == 0
    path = launch.folder / "registry.db"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE written_by SET version = '7.1.0'")
    connection.commit()
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    line = refusal(launch, *ANY_PORTS, "--data-dir", str(launch.folder))
    assert line.startswith(f"{path} was written by a newer MiniCloud, 7.1.0, with schema 99; this one, ")
    assert "run that version" in line
    assert path.read_bytes() == before


def test_database_of_an_older_version_is_taken_up_with_what_it_holds(launch: Launcher) -> None:
    folder = launch.folder / "data"
    folder.mkdir()
    shutil.copyfile(SCHEMA_1, folder / "registry.db")
    control_plane = launch.control_plane(data_dir=folder)
    # The workers have been silent for years and are forgotten at once, which shows that they were known.
    for worker_id in ("worker-1", "worker-3"):
        kinds = [(entry["kind"], entry["detail"]) for entry in control_plane.events_of(worker_id)]
        assert kinds == [("registered", "new"), ("departed", "forgotten")]
    control_plane.until_logged("registry_upgraded", old=str(folder / "registry.db.schema-1"))


def test_database_damaged_in_its_middle_is_refused(launch: Launcher) -> None:
    control_plane = launch.control_plane(data_dir=launch.folder)
    assert control_plane.end() == 0
    path = launch.folder / "registry.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    line = refusal(launch, *ANY_PORTS, "--data-dir", str(launch.folder))
    assert line.startswith(f"{path} is damaged (0 workers, 0 events ")
    assert ": bring back a backup (minicloud restore), or move" in line


def test_database_of_another_program_is_refused(launch: Launcher) -> None:
    path = launch.folder / "registry.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    line = refusal(launch, *ANY_PORTS, "--data-dir", str(launch.folder))
    assert line == f"{path} is another program's database: move it away or name another --data-dir"


def test_data_folder_of_a_running_control_plane_is_refused_for_now(launch: Launcher) -> None:
    first = launch.control_plane(data_dir=launch.folder)
    line = refusal(launch, *ANY_PORTS, "--data-dir", str(launch.folder), code=exits.FAILED)
    assert "is in use by another process: stop the other control plane" in line
    assert first.get("/readyz") == {"status": "ready"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("minicloud:\n  wroker:\n    id: a\n", r"{path}:2: .*minicloud\.wroker.*worker.*"),
        ("grpc:\n  server:\n    port: many\n", r"{path}:3: .*'many'.*"),
        ("minicloud: [\n", r"{path}:\d+: .*"),
        ("minicloud:\n  worker:\n    id: ${NOBODY_SAID}\n", r"{path}:3: .*NOBODY_SAID.*"),
    ],
    ids=["unknown key", "bad value", "no YAML", "open placeholder"],
)
def test_configuration_file_that_is_wrong_is_refused_with_its_line(
    launch: Launcher, content: str, said: str
) -> None:
    path = launch.folder / "application.yml"
    path.write_text(content)
    line = refusal(launch, "--worker", "--config", str(path), "--data-dir", "none")
    assert re.fullmatch(said.format(path=re.escape(str(path))), line), line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--grpc-prot", "1"), "unknown option --grpc-prot: did you mean --grpc-port?"),
        (("--grpc-port", "70000"), "--grpc-port: '70000'"),
        (("--heartbeat-timeout", "31s"), "less than twice the heartbeat interval"),
        (("--heartbeat-interval", "soon"), "--heartbeat-interval: 'soon'"),
        (("--id", "w"), "--id is for a worker: give --worker too"),
        (("--worker", "--grpc-port", "1"), "--grpc-port is for the control plane, not for --worker"),
        (("--worker", "--id", "no spaces"), "--id: 'no spaces'"),
        (("--config", "/nowhere/application.yml"), "cannot read the configuration file /nowhere/"),
        (("wrokers",), "unknown command 'wrokers': did you mean workers?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_command_line_that_is_wrong_is_refused_with_what_would_be_right(
    launch: Launcher, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refusal(launch, *arguments)


def test_environment_that_is_wrong_is_refused_by_the_variables_name(launch: Launcher) -> None:
    line = refusal(launch, env={"MINICLOUD_HTTP_PORT": "http"})
    assert line.startswith("MINICLOUD_HTTP_PORT: 'http'")


def test_version_and_help_are_printed_and_nothing_is_started(launch: Launcher) -> None:
    version, shown = launch.run("--version"), launch.run("--help")
    assert version.exit_code() == shown.exit_code() == 0
    assert re.fullmatch(r"minicloud \d+\.\d+\.\d+\S*\n", version.stdout)
    assert "--heartbeat-timeout" in shown.stdout
    assert version.stderr == shown.stderr == ""
    assert not Path(launch.folder / ".local").exists()
