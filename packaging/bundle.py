"""This module reads the parts of the executable from the file itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import PyInstaller
from PyInstaller.archive.readers import CArchiveReader

from elf_needs import MAGIC

_MODULES = "PYZ.pyz"
_FOLDER = "-"
_LOADER = Path(PyInstaller.__file__).parent / "loader"


@dataclass(frozen=True, slots=True)
class Part:
    """A `Part` is one module or file in the executable, with the file of this machine that it was
    made from."""

    name: str
    source: Path


class UnrecordedPartError(Exception):
    """The executable has a part whose source the build did not write down."""


class Bundle:
    """A `Bundle` is an executable made by PyInstaller. `record` has the sources of its parts."""

    def __init__(self, executable: Path, record: Path) -> None:
        self._executable = executable
        self._archive = CArchiveReader(str(executable))
        self._sources: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))

    def parts(self) -> list[Part]:
        """Return all parts by name, except packages that are only a folder. Raises `UnrecordedPartError`."""
        modules = self._archive.open_embedded_archive(_MODULES)
        names = {*self._archive.toc, *modules.toc} - {_MODULES}
        return [
            Part(name, self._source(name)) for name in sorted(names) if self._sources.get(name) != _FOLDER
        ]

    def elf_files(self) -> Iterator[bytes]:
        """Yield the executable itself, and each library in it."""
        yield self._executable.read_bytes()
        for name in sorted(self._archive.toc):
            content = self._archive.extract(name)
            if isinstance(content, bytes) and content.startswith(MAGIC):
                yield content

    def _source(self, name: str) -> Path:
        if source := self._sources.get(name):
            return Path(source)
        # PyInstaller adds these first modules at the very end.
        if name == struct.__name__:
            return Path(struct.__file__)
        if (source_of_loader := _LOADER / f"{name}.py").is_file():
            return source_of_loader
        raise UnrecordedPartError(f"it is not recorded what {name} was made from")
