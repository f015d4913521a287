"""The install script puts files in their places, refuses what it must, and can be run again and undone.

A small script stands in for the executable: it is copied and summed, and no test here reads it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from tests.packaging.files import PACKAGING

PROGRAM = b"#!/bin/sh\necho version one\n"


class Download:
    """A `Download` is a downloaded folder: the executable, its sums, and the files of `packaging/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "download"
        shutil.copytree(PACKAGING, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.provide(PROGRAM)
        self.destdir = folder / "root"

    def provide(self, program: bytes) -> None:
        files = {"minicloud.cdx.json": b"list", "LICENSES.txt": b"texts", "minicloud": program}
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        sums = "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
        (self.folder / "SHA256SUMS").write_text(sums)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(self.folder / "install.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=50)

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Install under our own root; this has to succeed."""
        done = self.run("--destdir", str(self.destdir), *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Return the one line with which it refuses; nothing is installed."""
        done = self.run("--destdir", str(self.destdir), *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        (line,) = done.stderr.splitlines()
        assert not self.destdir.exists()
        return line.removeprefix("install.sh: ")

    def tree(self) -> dict[str, tuple[int, bytes]]:
        """Return every installed file with its mode and content."""
        return {
            str(path.relative_to(self.destdir)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
            for path in sorted(self.destdir.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def download(tmp_path: Path) -> Download:
    return Download(tmp_path)


UNDER_PREFIX = (
    "bin/minicloud",
    "bin/minicloud-sim",
    "share/bash-completion/completions/minicloud",
    "share/bash-completion/completions/minicloud-sim",
    "share/doc/minicloud/LICENSES.txt",
    "share/doc/minicloud/minicloud.cdx.json",
    "share/fish/vendor_completions.d/minicloud-sim.fish",
    "share/fish/vendor_completions.d/minicloud.fish",
    "share/man/man1/minicloud-sim.1",
    "share/man/man1/minicloud.1",
    "share/zsh/site-functions/_minicloud",
    "share/zsh/site-functions/_minicloud-sim",
)
UNITS = ("minicloud-worker@.service", "minicloud.service")
SETTINGS = ["etc/minicloud/control-plane.env", "etc/minicloud/worker.env"]


def test_install_puts_every_file_where_programs_look_for_it(download: Download) -> None:
    download.install()
    tree = download.tree()
    assert sorted(tree) == sorted(
        [
            *SETTINGS,
            *(f"usr/local/{name}" for name in UNDER_PREFIX),
            *(f"usr/local/lib/systemd/system/{unit}" for unit in UNITS),
        ]
    )
    assert tree["usr/local/bin/minicloud"] == (0o755, PROGRAM)
    assert {mode for name, (mode, _) in tree.items() if "/bin/" not in name} == {0o644}
    link = download.destdir / "usr/local/bin/minicloud-sim"
    assert os.readlink(link) == "minicloud"
    assert subprocess.run([link], capture_output=True, timeout=10).stdout == b"version one\n"


@pytest.mark.parametrize(
    ("prefix", "unit_dir"),
    [
        ("/usr", "usr/lib/systemd/system"),
        ("/opt/mini-cloud", "etc/systemd/system"),
        ("/", "etc/systemd/system"),
    ],
)
def test_install_under_another_prefix_has_the_units_name_it(
    download: Download, prefix: str, unit_dir: str
) -> None:
    download.install("--prefix", prefix)
    for unit in UNITS:
        text = (download.destdir / unit_dir / unit).read_text()
        assert f"\nExecStart={prefix.rstrip('/')}/bin/minicloud" in text
        assert "/usr/local" not in text.replace("ExecStart", "")
    assert (download.destdir / prefix.strip("/") / "bin/minicloud").is_file()


def test_install_again_changes_nothing_but_what_is_new(download: Download) -> None:
    download.install()
    before = download.tree()
    download.install()
    assert download.tree() == before
    settings = download.destdir / SETTINGS[0]
    settings.write_text("MINICLOUD_HOST=0.0.0.0\n")
    download.provide(b"#!/bin/sh\necho version two\n")
    download.install()
    assert settings.read_text() == "MINICLOUD_HOST=0.0.0.0\n"
    changed = {name for name, content in download.tree().items() if content != before[name]}
    assert changed == {SETTINGS[0], "usr/local/bin/minicloud", "usr/local/bin/minicloud-sim"}


def test_install_replaces_an_executable_that_runs(download: Download) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    download.provide(Path(sleep).read_bytes())
    download.install()
    with subprocess.Popen([download.destdir / "usr/local/bin/minicloud", "60"]) as running:
        try:
            download.provide(PROGRAM)
            download.install()
            assert running.poll() is None
        finally:
            running.kill()
    assert download.tree()["usr/local/bin/minicloud"] == (0o755, PROGRAM)


def test_uninstall_leaves_settings_alone(download: Download) -> None:
    download.install()
    shown = download.install("--uninstall").stdout
    assert sorted(download.tree()) == SETTINGS
    assert not (download.destdir / "usr/local/bin/minicloud-sim").is_symlink()
    assert "settings in /etc/minicloud and data in /var/lib stay" in shown
    download.install("--uninstall")


def test_executable_with_another_sum_is_refused(download: Download) -> None:
    (download.folder / "minicloud").write_bytes(PROGRAM + b"# changed on the way\n")
    found = sha256(PROGRAM + b"# changed on the way\n").hexdigest()
    assert download.refused() == (
        f"the SHA-256 sum of {download.folder}/minicloud is {found}, not {sha256(PROGRAM).hexdigest()}: "
        "nothing is installed, download it again"
    )


def test_licences_with_another_sum_are_refused(download: Download) -> None:
    (download.folder / "LICENSES.txt").write_bytes(b"other texts")
    assert f"the SHA-256 sum of {download.folder}/LICENSES.txt is" in download.refused()
    (download.folder / "LICENSES.txt").unlink()
    assert download.refused().endswith("LICENSES.txt: download it with the executable")


def test_executable_without_a_sum_is_refused(download: Download) -> None:
    (download.folder / "SHA256SUMS").write_text(f"{sha256(PROGRAM).hexdigest()}  minicloud.cdx.json\n")
    assert "has no sum of minicloud" in download.refused()
    (download.folder / "SHA256SUMS").unlink()
    assert "there is no" in download.refused()
    (download.folder / "minicloud").unlink()
    assert download.refused("--from", str(download.folder)).endswith("name its folder with --from")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prefix",), "--prefix wants a folder (see --help)"),
        (("--prefix", "relative"), "--prefix relative: give a path from the root, as in /usr/local"),
        (("--prefix", "/opt/a b"), "--prefix /opt/a b: systemd's units cannot name such a path"),
        (("--frm", "/tmp"), "unknown option --frm (see --help)"),
    ],
)
def test_install_typed_wrong_is_refused(download: Download, arguments: Sequence[str], said: str) -> None:
    assert download.refused(*arguments, code=2) == said


def test_install_from_the_repository_finds_what_was_built(download: Download) -> None:
    dist = download.folder.parent / "dist"
    dist.mkdir()
    for name in ("minicloud", "SHA256SUMS", "LICENSES.txt", "minicloud.cdx.json"):
        shutil.move(download.folder / name, dist / name)
    download.install()
    assert download.tree()["usr/local/bin/minicloud"] == (0o755, PROGRAM)


def test_install_to_where_nothing_can_be_written_says_so(download: Download, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = download.run("--destdir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot make" in done.stderr


@pytest.fixture
def nobody() -> Iterator[Download]:
    """Return a download in a folder of a user without rights, which is their home, too."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        download = Download(Path(folder))
        for path in [Path(folder), *Path(folder).rglob("*")]:
            os.chown(path, 65534, 65534)
        yield download


def test_install_by_who_is_not_root_goes_to_their_home_without_units(nobody: Download) -> None:
    home = nobody.folder.parent
    done = subprocess.run(
        ["sh", nobody.folder / "install.sh"],
        capture_output=True,
        text=True,
        timeout=50,
        user=65534,
        group=65534,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    files = [
        str(path.relative_to(home / ".local")) for path in (home / ".local").rglob("*") if path.is_file()
    ]
    assert sorted(files) == sorted(UNDER_PREFIX)
    assert f"{home}/.local/bin/minicloud dev" in done.stdout
