"""Linters of their kinds check the shell scripts and the container file.

No container is built here: that needs an engine and a base image.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minicloud.config.table import GRPC_PORT, HTTP_PORT, SETTINGS, WORKER_PORT
from tests.packaging.files import PACKAGING, ROOT

BIN = Path(sys.executable).parent  # the locked requirements put the linters here
CONTAINERFILE = PACKAGING / "Containerfile"


def lint(*command: str) -> str:
    found = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True, timeout=50)
    return f"{found.stdout}{found.stderr}"


@pytest.mark.parametrize("script", ["packaging/install.sh", ".ci/run", ".ci/setup"])
def test_shell_script_has_no_fault_that_shellcheck_knows(script: str) -> None:
    assert lint("shellcheck", "--norc", str(ROOT / script)) == ""


def test_container_file_has_no_fault_that_hadolint_knows() -> None:
    assert lint("hadolint", str(CONTAINERFILE)) == ""


def instructions() -> dict[str, list[str]]:
    """Return the container file's instructions, each with its arguments; continued lines are joined."""
    found: dict[str, list[str]] = {}
    lines = "\n".join(line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        name, _, rest = line.partition(" ")
        if name:
            found.setdefault(name, []).append(rest)
    return found


def test_container_runs_as_a_number_that_is_not_root_and_asks_for_its_own_health() -> None:
    found = instructions()
    assert found["USER"] == ["65532:65532"]
    assert "-o 65532 -g 65532" in found["RUN"][1]
    assert found["STOPSIGNAL"] == ["SIGTERM"]
    assert found["HEALTHCHECK"][0].endswith('CMD ["minicloud", "health"]')
    assert found["ENTRYPOINT"] == ['["tini", "--", "minicloud"]']


def test_container_exposes_the_ports_there_are_and_sets_what_can_be_set() -> None:
    found = instructions()
    assert found["EXPOSE"][0].split() == [GRPC_PORT.default, HTTP_PORT.default, WORKER_PORT.default]
    names = {word.partition("=")[0] for word in found["ENV"][0].split()}
    assert names <= {setting.env for setting in SETTINGS}


def test_build_is_sent_the_executable_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "*",
        "!dist/minicloud",
        "!dist/LICENSES.txt",
    ]
    assert [line.split()[-2] for line in instructions()["COPY"]] == ["dist/minicloud", "dist/LICENSES.txt"]
