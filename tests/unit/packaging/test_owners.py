"""Each part of the executable has the right owner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

import minicloud
from owners import Owners, UnknownOwnerError

ROOT = Path(__file__).resolve().parents[3]
STATIC = ROOT / "minicloud" / "control" / "rest" / "static"


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Owners:
    return Owners(ROOT, tmp_path_factory.mktemp("work"))


def test_file_of_a_python_package_is_of_that_package(owners: Owners) -> None:
    owner = owners.of(Path(trio.__file__))
    assert owner is not None
    assert (owner.name, owner.version) == ("trio", trio.__version__)
    assert owner.purl.to_string() == f"pkg:pypi/trio@{trio.__version__}"
    assert owner.licences == ("MIT OR Apache-2.0",)
    assert owner.homepage.startswith("https://")


def test_file_of_the_standard_library_is_of_python(owners: Owners) -> None:
    owner = owners.of(Path(json.__file__))
    assert owner is not None
    assert owner.name == "CPython"


def test_files_of_the_project_are_ours_but_for_those_it_keeps_of_others(owners: Owners) -> None:
    assert owners.of(Path(minicloud.__file__)) is None
    assert owners.of(STATIC / "docs.html") is None
    kept = owners.of(STATIC / "swagger-ui" / "swagger-ui-bundle.js")
    assert kept is not None
    assert kept.name == "swagger-ui-dist"
    assert kept.version in (STATIC / "README.md").read_text()


def test_file_that_nobody_brought_is_an_error(owners: Owners, tmp_path: Path) -> None:
    stray = tmp_path / "libstray.so"
    stray.touch()
    with pytest.raises(UnknownOwnerError, match=r"libstray\.so is of no Python package"):
        owners.of(stray)
