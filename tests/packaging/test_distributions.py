"""The wheel and the source distribution have all their files, and the wheel alone is a whole MiniCloud.

Nothing is fetched: the fresh environment finds the libraries of the one that the tests run in.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from email.message import Message
from email.parser import Parser
from pathlib import Path
from urllib.request import urlopen
from zipfile import ZipFile

import pytest

from tests.integration.processes import WITHIN_S, Launcher

ROOT = Path(__file__).resolve().parents[2]
# These belong to a working copy and to no distribution.
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


# The fixtures build from a copy of the sources and make an environment, all in the time of the first test.
pytestmark = pytest.mark.timeout(300)


def build(kind: str, sources: Path, out: Path) -> Path:
    """Return the distribution that the build backend makes of `sources`."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(out)], cwd=sources, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "sources", ignore=LEFT_OUT)
    return build("sdist", folder / "sources", folder)


@pytest.fixture(scope="module")
def unpacked(sdist: Path) -> Path:
    """Return the source distribution, unpacked."""
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.2 lacks it
            archive.extractall(sdist.parent, filter="data")
        else:
            archive.extractall(sdist.parent)
    return sdist.parent / sdist.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    """Return the wheel that is made of the source distribution."""
    return build("wheel", unpacked, unpacked.parent)


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of a fresh environment with the wheel in it."""
    if importlib.util.find_spec("ensurepip") is None:
        pytest.skip("this Python makes no environments: on Debian, apt install python3-venv")
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    # The libraries are added, but not the build tools: the wheel has to do without.
    libraries = sysconfig.get_path("purelib")
    (packages / "libraries.pth").write_text(
        f"{libraries}\nimport sys; sys.modules['setuptools'] = None\n", "utf-8"
    )
    pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True)
    return folder / "bin"


def test_wheel_needs_no_build_tool_and_describes_itself(metadata: Message) -> None:
    needed = {
        line.split(">")[0].split("<")[0].split("=")[0].strip()
        for line in metadata.get_all("Requires-Dist", [])
    }
    assert {"trio", "h2", "protobuf"} <= needed
    assert not needed & {"setuptools", "pip", "wheel", "pytest"}
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    classifiers = metadata.get_all("Classifier", [])
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    assert "Framework :: Trio" in classifiers
    assert str(metadata.get_payload()).startswith("# MiniCloud\n")


def test_wheel_has_all_data_of_its_packages_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = {name for name in names if not name.endswith(".py")}
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("minicloud", "sim")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data == wanted
    assert {name.split("/")[0] for name in names} == {"minicloud", "sim"}


def test_source_distribution_has_what_testing_building_and_packaging_need(unpacked: Path) -> None:
    for name in ("Makefile", "LICENSE", "CHANGELOG.md", "DESIGN.md", "pyproject.toml"):
        assert (unpacked / name).is_file()
    for folder in (".ci", "docs", "minicloud", "packaging", "proto", "requirements", "sim", "tests"):
        of_ours = {
            path.relative_to(ROOT)
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert of_ours == {
            path.relative_to(unpacked) for path in (unpacked / folder).rglob("*") if path.is_file()
        }
    assert (unpacked / "packaging" / "install.sh").stat().st_mode & 0o111


def test_installed_wheel_runs_every_program(installed: Path, tmp_path: Path) -> None:
    with Launcher(tmp_path, program=[str(installed / "minicloud")]) as launcher:
        control_plane = launcher.control_plane()
        for path in ("/docs", "/openapi.json", "/metrics"):
            with urlopen(control_plane.url + path, timeout=WITHIN_S) as answer:
                assert answer.status == 200
        worker = launcher.worker(control_plane, "worker-1")
        assert worker.worker_id == "worker-1"
        listed = launcher.run("sim", "--list", name="listed")
        assert listed.exit_code() == 0
        assert "zone-outage" in listed.stdout
        shown = launcher.run("workers", "--url", control_plane.url, name="shown")
        assert shown.exit_code() == 0
        assert "worker-1" in shown.stdout
    with Launcher(tmp_path, program=[str(installed / "minicloud-sim")]) as launcher:
        simulated = launcher.run("--scenario", "steady", "--workers", "3")
        assert simulated.exit_code() == 0, simulated.stderr
        assert "HELD" in simulated.stdout
