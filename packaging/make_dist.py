"""`make dist` runs this script. It puts the executable and everything that belongs to it into one archive.

The archive is laid out for install.sh, and made of the files that `make binary` has put into a folder. The
same files give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import platform
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from build_binary import LINK, LIST, NAME, ROOT, TEXTS, BuildError, source_date, version, write_sums

PACKAGING = ROOT / "packaging"
# These files of packaging/ are for people who install, beside the script.
FOLDERS = ("completions", "man", "monitoring", "systemd")
EXECUTABLE = {NAME, "install.sh"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the archive and return the exit code."""
    parser = argparse.ArgumentParser(
        description="Put the executable and all that belongs to it in an archive."
    )
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the executable is")
    options = parser.parse_args(arguments)
    try:
        archive = make(options.dist.resolve())
    except BuildError as error:
        print(f"make_dist: {error}", file=sys.stderr)
        return 1
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")
    return 0


def make(dist: Path) -> Path:
    """Write the archive and its sum into `dist`, and return the archive's path. Raises `BuildError`."""
    title = f"{NAME}-{version()}-{sys.platform}-{platform.machine()}"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / title
        for name, content in contents(dist):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        write_sums(root, sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()))
        archive = dist / f"{title}.tar.gz"
        archive.write_bytes(packed(root, source_date()))
    sum_file = dist / f"{archive.name}.sha256"
    sum_file.write_text(f"{sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n", encoding="utf-8")
    return archive


def contents(dist: Path) -> Iterator[tuple[str, bytes]]:
    """Return the name and content of each file of the archive but the sums. Raises `BuildError`."""
    for name in (NAME, LIST, TEXTS):
        try:
            yield name, (dist / name).read_bytes()
        except FileNotFoundError:
            raise BuildError(f"there is no {dist / name}: make binary first") from None
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "DESIGN.md"):
        yield name, (ROOT / name).read_bytes()
    yield "install.sh", (PACKAGING / "install.sh").read_bytes()
    for folder, place in (
        *((PACKAGING / name, name) for name in FOLDERS),
        (ROOT / "docs", "docs"),
        (ROOT / "proto", "proto"),
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in {".py", ".pyc"}:
                yield f"{place}/{path.relative_to(folder)}", _as_laid_out(path)


def packed(root: Path, epoch_s: int) -> bytes:
    """Return `root` as a compressed archive of which no byte depends on its maker, the time or the place."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in [root, *sorted(root.rglob("*"))]:
            info = tarfile.TarInfo(str(path.relative_to(root.parent)))
            info.mtime = epoch_s
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            info.size = path.stat().st_size
            info.mode = 0o755 if path.name in EXECUTABLE else 0o644
            with path.open("rb") as file:
                archive.addfile(info, file)
        link = tarfile.TarInfo(f"{root.name}/{LINK}")
        link.type, link.linkname, link.mtime, link.mode = tarfile.SYMTYPE, NAME, epoch_s, 0o777
        archive.addfile(link)
    return gzip.compress(unpacked.getvalue(), 9, mtime=epoch_s)


def _as_laid_out(path: Path) -> bytes:
    """Return the content of `path`. In a document, links into packaging/ lead to its files in the archive."""
    content = path.read_bytes()
    return content.replace(b"](../packaging/", b"](../") if path.suffix == ".md" else content


if __name__ == "__main__":
    sys.exit(main())
