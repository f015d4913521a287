"""The executable's parts and needs agree with what its list and its documents say of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PyInstaller.archive.readers import CArchiveReader
from PyInstaller.loader.pyimod01_archive import PYZ_ITEM_NSPKG

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 25_000_000
# Every system that this is for has these. The bootloader needs zlib before anything is unpacked.
OF_THE_SYSTEM = {
    "ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1",
    "libutil.so.1", "libz.so.1",
}  # fmt: skip


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the executable, and the libraries in it, as files."""
    executable = Path(os.environ["MINICLOUD_EXECUTABLE"])
    archive = CArchiveReader(str(executable))
    folder = tmp_path_factory.mktemp("libraries")
    found = [executable]
    for number, name in enumerate(sorted(archive.toc)):
        content = archive.extract(name)
        if isinstance(content, bytes) and content.startswith(b"\x7fELF"):
            found.append(folder / f"{number}-{Path(name).name}")
            found[-1].write_bytes(content)
    assert len(found) > 20
    return found


def told_by(dist: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((dist / "minicloud.cdx.json").read_bytes())
    return document


def needs_told(dist: Path) -> dict[str, str]:
    """Return the needs that the list has: the versions, by library."""
    properties = told_by(dist)["metadata"]["component"]["properties"]
    shown = (each["value"].partition(" ") for each in properties)
    return {library: versions for library, _, versions in shown}


def dumped(path: Path) -> str:
    return subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout


def test_executable_is_small(executable: Path) -> None:
    assert executable.stat().st_size <= MOST_BYTES


def test_simulator_is_the_same_file(dist: Path, executable: Path) -> None:
    assert (dist / "minicloud-sim").readlink() == Path(executable.name)


def test_sums_are_those_of_the_files(dist: Path) -> None:
    lines = [line.split() for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == {"minicloud", "minicloud.cdx.json", "LICENSES.txt"}
    for digest, name in lines:
        assert digest == sha256((dist / name).read_bytes()).hexdigest()
    shown = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, capture_output=True)
    assert shown.returncode == 0


def test_glibc_that_is_told_is_the_oldest_that_has_every_symbol(dist: Path, libraries: list[Path]) -> None:
    # This is another reader of ELF files than the one that made the list.
    asked = {
        tuple(map(int, version.split(".")))
        for path in libraries
        for version in re.findall(r" GLIBC_([\d.]+)$", dumped(path), re.MULTILINE)
    }
    newest = max(
        tuple(map(int, version.split(".")))
        for versions in needs_told(dist).values()
        for version in re.findall(r"GLIBC ([\d.]+)", versions)
    )
    assert newest == max(asked)


def test_nothing_is_needed_that_is_neither_inside_nor_on_every_system(
    dist: Path, libraries: list[Path]
) -> None:
    shown = [dumped(path) for path in libraries]
    needed = {name for each in shown for name in re.findall(r"NEEDED +(\S+)", each)}
    inside = {name for each in shown for name in re.findall(r"SONAME +(\S+)", each)}
    assert needed - inside == set(needs_told(dist)) <= OF_THE_SYSTEM


def test_libraries_are_stripped(libraries: list[Path]) -> None:
    for path in libraries:
        sections = subprocess.run(["objdump", "-h", path], capture_output=True, text=True, check=True).stdout
        assert ".debug_" not in sections, path
        symbols = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=True).stdout
        assert "no symbols" in symbols, path


def test_list_accounts_for_every_part_that_is_not_ours(dist: Path, executable: Path) -> None:
    archive = CArchiveReader(str(executable))
    modules = archive.open_embedded_archive("PYZ.pyz")
    folders = {name for name, entry in modules.toc.items() if entry[0] == PYZ_ITEM_NSPKG}
    inside = {*archive.toc, *modules.toc} - {"PYZ.pyz"} - folders
    components = told_by(dist)["components"]
    listed = [each["value"] for component in components for each in component["properties"]]
    assert len(listed) == len(set(listed))
    assert set(listed) <= inside
    ours = re.compile(r"(minicloud|sim)([./-].*)?|frozen_main|kept_open")
    assert {name for name in inside - set(listed) if not ours.fullmatch(name)} == set()


def test_list_names_versions_and_the_licences_that_are_known(dist: Path, executable: Path) -> None:
    document = told_by(dist)
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "minicloud")
    (digest,) = document["metadata"]["component"]["hashes"]
    assert digest["content"] == sha256(executable.read_bytes()).hexdigest()
    components = {component["name"]: component for component in document["components"]}
    assert set(components) >= {"CPython", "trio", "h2", "protobuf", "pyinstaller", "swagger-ui-dist"}
    for component in components.values():
        assert component["version"]
        assert component["purl"].startswith("pkg:")
        if component["purl"].startswith("pkg:pypi/"):
            assert component["licenses"], component["name"]
    assert components["trio"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]


def test_licence_text_of_each_part_is_shown_and_beside_the_list(dist: Path, executable: Path) -> None:
    texts = (dist / "LICENSES.txt").read_text()
    shown = subprocess.run([executable, "licenses"], capture_output=True, text=True, check=True).stdout
    assert shown == texts
    titles = re.findall(r"^={80}\n(.+)\n={80}\n\n(?=.)", texts, re.MULTILINE)
    assert titles[0].startswith("MiniCloud ")
    for component in told_by(dist)["components"]:
        wanted = f"{component['name']} {component['version']}"
        assert any(title == wanted or title.startswith(f"{wanted} (") for title in titles), wanted
    for words in (
        "Apache License",
        "PYTHON SOFTWARE FOUNDATION LICENSE",
        "OpenSSL",
        "public domain",
        "GCC RUNTIME LIBRARY EXCEPTION",
        "Expat",
        "Kirill Simonov",
        "Daniel G. Taylor",
        "Copyright 2008 Google Inc.",
    ):
        assert words in texts, words


def test_nothing_of_the_development_environment_is_inside(dist: Path) -> None:
    purls = {component["purl"].partition("@")[0] for component in told_by(dist)["components"]}
    never = {
        "pytest",
        "hypothesis",
        "mypy",
        "grpcio",
        "setuptools",
        "pip",
        "cyclonedx-python-lib",
        "pyelftools",
    }
    assert {f"pkg:pypi/{name}" for name in never} & purls == set()


def test_nothing_under_the_gpl_is_inside_but_the_bootloader_which_excepts_us(dist: Path) -> None:
    components = told_by(dist)["components"]
    copyleft = {each["name"] for each in components if "GPL" in json.dumps(each.get("licenses", ""))}
    assert copyleft == {"pyinstaller"}
    assert not any("readline" in each["name"] for each in components)


@pytest.mark.timeout(300)
def test_executable_built_again_elsewhere_is_the_same_to_the_byte(dist: Path, tmp_path: Path) -> None:
    sources = tmp_path / "in another folder"
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, sources, ignore=unwanted)
    told = datetime.fromisoformat(told_by(dist)["metadata"]["timestamp"])
    again = tmp_path / "dist"
    subprocess.run(
        [ROOT / "build/venv/bin/python", sources / "packaging/build_binary.py", "--dist", again],
        env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": f"{told.timestamp():.0f}"},
        check=True,
        capture_output=True,
    )
    for name in ("minicloud", "minicloud.cdx.json", "LICENSES.txt", "SHA256SUMS"):
        assert (again / name).read_bytes() == (dist / name).read_bytes(), name
