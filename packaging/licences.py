"""This module puts the licence texts of all parts of the executable into one document for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from owners import Owner

# Debian's files name these texts instead of repeating them.
_COMMON = Path("/usr/share/common-licenses")
_NAMED = re.compile(rf"{_COMMON}/([A-Za-z0-9.-]*[A-Za-z0-9])")
_RULE = "=" * 80


class MissingTextError(Exception):
    """A part of the executable has a licence without a text."""


def document(licence: Path, version: str, owners: Iterable[Owner]) -> str:
    """Return the text of `licence`, which is MiniCloud's, followed by those of all `owners`.

    A text that is the same as an earlier one is replaced by a reference to that. Raises `MissingTextError`.
    """
    first: dict[str, str] = {}
    sections = [
        "The executable of MiniCloud has parts by others. This file has the licence texts of all of them;\n"
        "minicloud.cdx.json says which part is of whom.\n"
    ]
    everyone = sorted(owners, key=lambda owner: owner.purl.to_string())
    for title, paths in (
        (f"MiniCloud {version}", (licence,)),
        *((_title(owner), _texts_of(owner)) for owner in everyone),
        *((f"{path.name}, a licence named above", (path,)) for path in _common(everyone)),
    ):
        sections.append(f"{_RULE}\n{title}\n{_RULE}\n")
        for path in paths:
            text = _read(path)
            if text in first:
                sections.append(f"{path.name}: the same as that of {first[text]}\n")
            else:
                first[text] = title
                sections.append(text)
    return "\n".join(sections)


def _title(owner: Owner) -> str:
    told = f" ({' or '.join(owner.licences)})" if owner.licences else ""
    return f"{owner.name} {owner.version}{told}"


def _texts_of(owner: Owner) -> tuple[Path, ...]:
    if not owner.texts:
        place = f"packaging/licences/{owner.name}.txt"
        raise MissingTextError(f"{owner.name} comes without the text of its licence: put it into {place}")
    return owner.texts


def _common(owners: Iterable[Owner]) -> Iterator[Path]:
    """Return the licences that the texts of `owners` only name, as far as this system has them."""
    names = {name for owner in owners for path in owner.texts for name in _NAMED.findall(_read(path))}
    for name in sorted(names):
        if (path := _COMMON / name).is_file():
            yield path


def _read(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"
