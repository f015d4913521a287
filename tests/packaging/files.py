"""This module has the paths of the files to be tested, and of the programs that some tests need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGING = ROOT / "packaging"


def tool(name: str, package: str) -> str:
    """Return the path of a program; skip the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: on Debian, apt install {package}")
    return found
