"""This module finds the owner of a file of this machine: a Python package, Python itself, or a package of the
system."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path

from packageurl import PackageURL

# These texts are for parts that come without one, or have something compiled in that does.
_KEPT = Path(__file__).parent / "licences"
_DOC = Path("/usr/share/doc")
# The build makes this file with all texts.
ALL_TEXTS = "licenses.txt"


class UnknownOwnerError(Exception):
    """The owner of a file is unknown."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An `Owner` is a piece of software with a version.

    `licences` are as in its metadata: an SPDX expression, or names of which any may be chosen. `homepage` is
    empty where the metadata has none. `texts` are the files with the texts of its licences.
    """

    name: str
    version: str
    purl: PackageURL
    licences: tuple[str, ...] = ()
    homepage: str = ""
    texts: tuple[Path, ...] = ()


_TEXT = re.compile(r"licen[cs]e|copying|notice|.*\.LICENSE\.txt$", re.IGNORECASE)


class Owners:
    """An `Owners` looks owners up. Files under `root` are the project's own, but for the third-party files it
    keeps; files that PyInstaller makes in `work` belong to Python."""

    def __init__(self, root: Path, work: Path) -> None:
        self._root = root.resolve()
        self._work = work.resolve()
        self._installed = {
            Path(str(distribution.locate_file(file))).resolve(): distribution
            for distribution in distributions()
            for file in distribution.files or ()
        }
        self._python = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}

    def of(self, path: Path) -> Owner | None:
        """Return the owner of `path`; None where it is the project's own. Raises `UnknownOwnerError`."""
        file = path.resolve()
        if distribution := self._installed.get(file):
            return None if distribution.name == "minicloud" else _python_package(distribution)
        if any(file.is_relative_to(folder) for folder in self._python) or file.name.startswith("libpython"):
            return _python()
        if file.name == ALL_TEXTS:
            return None
        if file.is_relative_to(self._work):  # the modules that are needed first are in an archive
            return _python()
        if file.is_relative_to(self._root):
            return _swagger_ui(file) if file.parent.name == "swagger-ui" else None
        return _system_package(file)


def _python_package(distribution: Distribution) -> Owner:
    metadata = distribution.metadata
    name = re.sub(r"[-_.]+", "-", distribution.name).lower()
    return Owner(
        distribution.name,
        distribution.version,
        PackageURL("pypi", name=name, version=distribution.version),
        _licences(metadata),
        _homepage(metadata),
        tuple(
            sorted(
                Path(str(distribution.locate_file(file)))
                for file in distribution.files or ()
                if ".dist-info" in file.parts[0] and _TEXT.match(file.name)
            )
        )
        + _kept(distribution.name),
    )


def _kept(name: str) -> tuple[Path, ...]:
    return tuple(path for path in (_KEPT / f"{name}.txt",) if path.is_file())


def _licences(metadata: PackageMetadata) -> tuple[str, ...]:
    if "License-Expression" in metadata:
        return (metadata["License-Expression"],)
    if "License" in metadata and "\n" not in metadata["License"]:  # otherwise it is the licence itself
        return (metadata["License"],)
    classifiers = metadata.get_all("Classifier") or ()
    return tuple(sorted(each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")))


def _homepage(metadata: PackageMetadata) -> str:
    if "Home-page" in metadata:
        return metadata["Home-page"]
    labelled = (each.partition(",") for each in metadata.get_all("Project-URL") or ())
    urls = {label.strip().lower(): url.strip() for label, _, url in labelled}
    wanted = ("homepage", "home", "source", "source code", "repository", "changes")
    return next((urls[label] for label in wanted if label in urls), "")


def _python() -> Owner:
    version = platform.python_version()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = (Path(sysconfig.get_path("stdlib")) / "LICENSE.txt", _DOC / name / "copyright")
    return Owner(
        "CPython",
        version,
        PackageURL("generic", name="python", version=version),
        ("PSF-2.0",),
        "https://www.python.org",
        tuple(path for path in places if path.is_file())[:1] + _kept("CPython"),
    )


def _swagger_ui(file: Path) -> Owner:
    readme = next(folder for folder in file.parents if folder.name == "static") / "README.md"
    version = re.search(r"swagger-ui-dist\)?[^,]*, version (\d+\.\d+\.\d+)", readme.read_text("utf-8"))
    if not version:
        raise UnknownOwnerError(f"{readme} does not say which version of swagger-ui-dist is here")
    return Owner(
        "swagger-ui-dist",
        version[1],
        PackageURL("npm", name="swagger-ui-dist", version=version[1]),
        ("Apache-2.0",),
        "https://www.npmjs.com/package/swagger-ui-dist",
        tuple(sorted(path for path in file.parent.iterdir() if _TEXT.match(path.name))),
    )


@cache
def _system_package(file: Path) -> Owner:
    """Return the Debian package that installed `file`, under /lib or /usr/lib, which are one folder
    by now."""
    for path in (file, Path("/", *file.parts[2:])):
        found = _asked("dpkg-query", "--search", str(path))
        if found:
            package = found.partition(": ")[0]
            version, architecture = _asked(
                "dpkg-query", "--show", "--showformat", "${Version} ${Architecture}", package
            ).split()
            name = package.partition(":")[0]
            system = platform.freedesktop_os_release()["ID"]
            purl = PackageURL("deb", system, name, version, {"arch": architecture})
            text = _DOC / name / "copyright"
            return Owner(name, version, purl, texts=(text,) if text.is_file() else ())
    raise UnknownOwnerError(
        f"{file} is of no Python package, not of Python in {sys.base_prefix}, and of no Debian package"
    )


def _asked(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip()
    except FileNotFoundError:
        return ""
