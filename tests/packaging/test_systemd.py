"""systemd accepts the units and locks them down, and the units fit what the programs do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from minicloud.app import control_plane, worker
from minicloud.cli import exits
from minicloud.config.table import DRAIN_TIMEOUT, SETTINGS
from minicloud.control.rest.server import GRACE_S as REST_GRACE_S
from minicloud.store.sqlite.store import CLOSE_TIMEOUT_S
from minicloud.worker.agent_config import AgentConfig
from tests.packaging.files import PACKAGING, tool

UNITS = {
    "minicloud.service": "minicloud.service",
    "minicloud-worker@.service": "minicloud-worker@9091.service",
}
SYSTEMD = PACKAGING / "systemd"
# This is of 100. The rest is for the network, the notifying child and /proc, which are needed.
MOST_EXPOSED = 15


def settings(unit: str) -> dict[str, list[str]]:
    """Return the unit's assignments, in order."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(s|min)", text)
    assert match is not None, text
    return int(match[1]) * {"s": 1, "min": 60}[match[2]]


@pytest.fixture(params=UNITS)
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a unit whose program exists, as `verify` requires."""
    text = (SYSTEMD / request.param).read_text()
    path = tmp_path / UNITS[request.param]
    path.write_text(text.replace("ExecStart=/usr/local/bin/minicloud", "ExecStart=/bin/true"))
    assert "ExecStart=/bin/true" in path.read_text()
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(installed: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    found = subprocess.run(
        [analyze, "verify", "--man=no", str(installed)], capture_output=True, text=True, timeout=50
    )
    # systemd prints a complaint about an unknown name, and exits with 0 all the same.
    about_ours = [line for line in found.stderr.splitlines() if installed.name in line]
    assert (found.returncode, about_ours) == (0, [])


def test_systemd_calls_the_unit_locked_down(installed: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    command = [analyze, "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED}"]
    found = subprocess.run([*command, str(installed)], capture_output=True, text=True, timeout=50)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_not_started_again_for_what_stays_refused(unit: str) -> None:
    assert settings(unit)["Restart"] == ["on-failure"]
    assert settings(unit)["RestartPreventExitStatus"] == [str(exits.USAGE)]


@pytest.mark.parametrize("unit", UNITS)
def test_unit_hears_the_child_and_signals_the_parent_of_an_executable_that_unpacks_itself(unit: str) -> None:
    assert settings(unit)["Type"] == ["notify"]
    assert settings(unit)["NotifyAccess"] == ["all"]
    assert settings(unit)["KillMode"] == ["mixed"]


def test_control_plane_is_given_the_time_it_needs_to_end() -> None:
    needs_s = control_plane.GRACE_S + REST_GRACE_S + CLOSE_TIMEOUT_S
    (stop,) = settings("minicloud.service")["TimeoutStopSec"]
    assert seconds(stop) > needs_s + 10


def test_worker_is_given_the_time_it_needs_to_drain_and_leave() -> None:
    needs_s = DRAIN_TIMEOUT.parse(DRAIN_TIMEOUT.default) + AgentConfig().leave_timeout_s + worker.GRACE_S
    (stop,) = settings("minicloud-worker@.service")["TimeoutStopSec"]
    assert seconds(stop) > needs_s + 10


@pytest.mark.parametrize("name", ["control-plane.env", "worker.env"])
def test_environment_file_changes_nothing_and_names_only_settings_there_are(name: str) -> None:
    lines = (SYSTEMD / name).read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    named = re.findall(r"^#(MINICLOUD_\w+)=", "\n".join(lines), re.MULTILINE)
    assert len(named) >= 3
    assert set(named) <= {setting.env for setting in SETTINGS}
