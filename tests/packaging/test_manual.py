"""The manual pages render without a complaint, and have all the text of --help."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from minicloud.cli.parser import COMMANDS
from minicloud.config.table import SETTINGS
from tests.packaging.files import PACKAGING, tool

PAGES = ("minicloud.1", "minicloud-sim.1")


def rendered(page: str) -> str:
    """Return the page as a person reads it, spaces run together and without breaks of words."""
    shown = subprocess.run(
        [tool("man", "man-db"), "-l", str(PACKAGING / "man" / page)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "MANWIDTH": "1000", "LANG": "C.UTF-8", "MAN_KEEP_FORMATTING": "", "PAGER": "cat"},
    )
    assert shown.returncode == 0, shown.stderr
    return re.sub(r"\s+", " ", shown.stdout.replace("\N{HYPHEN}", "-"))


@pytest.mark.parametrize("page", PAGES)
def test_page_renders_without_a_warning(page: str) -> None:
    command = [tool("man", "man-db"), "--warnings=w", "-l", str(PACKAGING / "man" / page)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (shown.returncode, shown.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES)
def test_page_is_well_formed(page: str) -> None:
    command = [tool("mandoc", "mandoc"), "-T", "lint", "-W", "warning", str(PACKAGING / "man" / page)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=50)
    # A page has no date, so that it changes only with its text.
    assert [line for line in found.stdout.splitlines() if "missing date" not in line] == []


def test_page_names_every_command_setting_and_exit_code() -> None:
    text = rendered("minicloud.1")
    for name, summary in COMMANDS.items():
        assert f"minicloud {name}" in text
        assert summary[1:] in text
    for setting in SETTINGS:
        if not setting.in_file_only:
            assert setting.flag in text
            assert setting.env in text
            assert setting.help in text, setting.name
    assert "EXIT STATUS 0 done;" in text
    assert "ENVIRONMENT" in text
    assert "registry.db" in text
