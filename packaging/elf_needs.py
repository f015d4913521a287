"""This module finds out which libraries ELF files need of the system, and in which version."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

MAGIC = b"\x7fELF"

Version = tuple[int, ...]

# This version is a word: the loader must support relative relocations that are packed.
_WORDS: dict[str, tuple[str, Version]] = {"GLIBC_ABI_DT_RELR": ("GLIBC", (2, 36))}


@dataclass(frozen=True, slots=True)
class Needs:
    """`Needs` has the `libraries` by their sonames, and `versions`: for each library, by the prefix of its
    version symbols, the newest version that is named, as in `versions["libc.so.6"]["GLIBC"] == (2, 34)`."""

    libraries: frozenset[str]
    versions: dict[str, dict[str, Version]]


class UnknownVersionError(Exception):
    """A library is needed in a version whose name has no number."""


def needs_of(files: Iterable[bytes]) -> Needs:
    """Return what `files` need of the system. They are ELF files, and one may provide a library for another.

    Raises `UnknownVersionError`.
    """
    brought: set[str] = set()
    libraries: set[str] = set()
    asked: dict[str, set[str]] = {}
    for content in files:
        for section in ELFFile(io.BytesIO(content)).iter_sections():
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags():
                    # A tag has an attribute named after its kind.
                    if tag.entry.d_tag == "DT_NEEDED":
                        libraries.add(getattr(tag, "needed"))  # noqa: B009
                    elif tag.entry.d_tag == "DT_SONAME":
                        brought.add(getattr(tag, "soname"))  # noqa: B009
            elif isinstance(section, GNUVerNeedSection):
                for library, versions in section.iter_versions():
                    asked.setdefault(str(library.name), set()).update(str(each.name) for each in versions)
    return Needs(
        frozenset(libraries - brought),
        {library: _newest(names) for library, names in sorted(asked.items()) if library not in brought},
    )


def shown(version: Version) -> str:
    """Format a version for people."""
    return ".".join(map(str, version))


def _newest(names: Iterable[str]) -> dict[str, Version]:
    newest: dict[str, Version] = {}
    for name in sorted(names):
        prefix, version = _WORDS.get(name) or _parsed(name)
        newest[prefix] = max(version, newest.get(prefix, ()))
    return newest


def _parsed(name: str) -> tuple[str, Version]:
    found = re.fullmatch(r"([A-Z]+)_(\d+(?:\.\d+)*)", name)
    if not found:
        raise UnknownVersionError(f"there is no telling how new a library {name} asks for")
    return found[1], tuple(map(int, found[2].split(".")))
