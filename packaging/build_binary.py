"""`make binary` runs this script. It builds the executable, the list of its parts, and their sums (DESIGN
37).

The Python of the environment made for it (build/venv) runs it. The same sources give the same bytes in any
folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from bundle import Bundle, UnrecordedPartError
from elf_needs import Needs, UnknownVersionError, needs_of, shown
from licences import MissingTextError
from licences import document as licence_texts
from owners import ALL_TEXTS, Owner, Owners, UnknownOwnerError
from sbom import document

ROOT = Path(__file__).resolve().parent.parent
NAME = "minicloud"
LINK = "minicloud-sim"
LIST = f"{NAME}.cdx.json"
TEXTS = "LICENSES.txt"
SUMS = "SHA256SUMS"

# These variables are kept. None of them changes how Python or PyInstaller work.
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
# Zip files have no earlier time.
_EARLIEST_S = 315532800


class BuildError(Exception):
    """The executable cannot be made."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build everything and return the exit code."""
    parser = argparse.ArgumentParser(description="Build the executable.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where it is put")
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="where PyInstaller works")
    options = parser.parse_args(arguments)
    try:
        needs = build(options.dist.resolve(), options.work.resolve())
    except (
        BuildError,
        MissingTextError,
        UnknownOwnerError,
        UnknownVersionError,
        UnrecordedPartError,
    ) as error:
        print(f"build_binary: {error}", file=sys.stderr)
        return 1
    size_mb = (options.dist / NAME).stat().st_size / 1e6
    print(f"{options.dist / NAME}: {size_mb:.1f} MB; needs {', '.join(needs.values())}")
    return 0


def build(dist: Path, work: Path) -> dict[str, str]:
    """Make everything in `dist`. Returns the executable's needs of the system, by the property that reports
    each.

    Raises `BuildError`, `MissingTextError`, `UnknownOwnerError`, `UnknownVersionError` and
    `UnrecordedPartError`.
    """
    epoch_s = source_date()
    record = work / "record.json"
    work.mkdir(parents=True, exist_ok=True)
    run_pyinstaller(dist, work, record, epoch_s)
    bundle = Bundle(dist / NAME, record)
    needs = system_needs(needs_of(bundle.elf_files()))
    link = dist / LINK
    link.unlink(missing_ok=True)
    link.symlink_to(NAME)
    owners = by_owner(bundle, work)
    (dist / LIST).write_text(document(dist / NAME, version(), owners, epoch_s, needs), encoding="utf-8")
    texts = licence_texts(ROOT / "LICENSE", version(), owners)
    (dist / TEXTS).write_text(texts, encoding="utf-8")
    if texts != (work / ALL_TEXTS).read_text(encoding="utf-8"):
        raise BuildError(f"the licences inside {NAME} are not those of its parts: compare {work / ALL_TEXTS}")
    write_sums(dist, (NAME, LIST, TEXTS))
    return needs


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 sums of the files `names` below `folder`, beside them."""
    lines = (f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def source_date() -> int:
    """Return the time of the sources, in seconds since 1970: SOURCE_DATE_EPOCH, else that of the last
    commit."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return _EARLIEST_S  # the sources have no history


def run_pyinstaller(dist: Path, work: Path, record: Path, epoch_s: int) -> None:
    """Have PyInstaller make the executable from scratch. Raises `BuildError`."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(epoch_s),
        "PYINSTALLER_CONFIG_DIR": str(work / "cache"),
        "MINICLOUD_SOURCES": str(ROOT),
        "MINICLOUD_RECORD": str(record),
    }
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN"]
    command += ["--distpath", str(dist), "--workpath", str(work), str(ROOT / "packaging" / "minicloud.spec")]
    if subprocess.run(command, env=env, cwd=work).returncode:
        raise BuildError("PyInstaller failed: see above")


def system_needs(needs: Needs) -> dict[str, str]:
    """Describe each library that is not in the executable, with the oldest version of it that suffices."""
    told = {}
    for library in sorted(needs.libraries):
        newest = needs.versions.get(library, {})
        versions = " ".join(f"{prefix} {shown(version)}" for prefix, version in sorted(newest.items()))
        told[f"minicloud:needs:{library}"] = f"{library} ({versions})" if versions else library
    return told


def by_owner(bundle: Bundle, work: Path) -> dict[Owner, list[str]]:
    """Return the parts that others made, by owner. Raises `UnrecordedPartError`, `UnknownOwnerError`."""
    owners = Owners(ROOT, work)
    found: dict[Owner, list[str]] = {}
    for part in bundle.parts():
        owner = owners.of(part.source)
        if owner is not None:
            found.setdefault(owner, []).append(part.name)
    return dict(sorted(found.items(), key=lambda item: item[0].purl.to_string()))


def version() -> str:
    """Return the project's own version."""
    sys.path.insert(0, str(ROOT))
    from minicloud import __version__

    return __version__


if __name__ == "__main__":
    sys.exit(main())
