"""The archive for download has all its files, and installs as it is.

A small script stands in for the executable, which no test here reads.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from build_binary import BuildError
from make_dist import make

PROGRAM = b"#!/bin/sh\necho version one\n"


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder = tmp_path / "dist"
    folder.mkdir()
    for name, content in {
        "minicloud": PROGRAM,
        "minicloud.cdx.json": b"{}",
        "LICENSES.txt": b"texts",
    }.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def unpacked(dist: Path, tmp_path: Path) -> Path:
    """Return the one folder in the archive."""
    place = tmp_path / "download"
    place.mkdir()
    subprocess.run(["tar", "xzf", make(dist)], cwd=place, check=True, timeout=30)
    (folder,) = place.iterdir()
    return folder


def test_archive_has_everything_and_its_sums(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if not path.is_dir()}
    assert names >= {
        "minicloud", "minicloud-sim", "minicloud.cdx.json", "LICENSES.txt", "LICENSE", "README.md",
        "CHANGELOG.md", "SHA256SUMS", "install.sh", "docs/operating.md", "man/minicloud.1",
        "completions/_minicloud",
        "systemd/minicloud.service", "systemd/control-plane.env", "monitoring/alerts.yml",
        "monitoring/grafana-dashboard.json",
    }  # fmt: skip
    assert any(name.startswith("proto/minicloud/") and name.endswith(".proto") for name in names)
    assert not any("__pycache__" in name or name.endswith(".py") for name in names)
    summed = {line.split("  ")[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    assert summed == names - {"SHA256SUMS", "minicloud-sim"}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=unpacked, check=True, timeout=30)
    assert os.access(unpacked / "minicloud", os.X_OK)
    assert os.access(unpacked / "install.sh", os.X_OK)


def test_archive_installs_as_it_lies_and_is_uninstalled(unpacked: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    command: list[Path | str] = [unpacked / "install.sh", "--destdir", root]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    installed = root / "usr/local/bin/minicloud"
    assert subprocess.run([installed], capture_output=True, check=True, timeout=10).stdout == b"version one\n"
    assert (root / "usr/local/share/doc/minicloud/LICENSES.txt").read_bytes() == b"texts"
    assert (root / "usr/local/share/man/man1/minicloud.1").is_file()
    subprocess.run([*command, "--uninstall"], check=True, capture_output=True, timeout=30)
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == {"etc/minicloud/control-plane.env", "etc/minicloud/worker.env"}


def test_links_of_the_guide_lead_to_files_of_the_archive(unpacked: Path) -> None:
    found = 0
    for document in (unpacked / "docs").glob("*.md"):
        for link in re.findall(r"\]\((\.\.?/[^)#]+|[a-z]+\.md)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"
            found += 1
    assert found >= 3


def test_guide_names_each_file_and_folder_at_the_top(unpacked: Path) -> None:
    guide = (unpacked / "docs/operating.md").read_text()
    for path in sorted(unpacked.iterdir()):
        shown = f"`{path.name}/`" if path.is_dir() else f"`{path.name}`"
        assert shown in guide, shown


def test_archive_made_again_is_the_same_to_the_byte(dist: Path) -> None:
    first = make(dist).read_bytes()
    os.utime(dist / "minicloud", (0, 0))
    assert make(dist).read_bytes() == first


def test_archive_has_its_sum_beside_it(dist: Path) -> None:
    archive = make(dist)
    command = ["sha256sum", "--check", "--quiet", f"{archive.name}.sha256"]
    subprocess.run(command, cwd=dist, check=True, timeout=30)


def test_archive_without_an_executable_says_what_to_do(dist: Path) -> None:
    (dist / "minicloud").unlink()
    with pytest.raises(BuildError, match="make binary first"):
        make(dist)
