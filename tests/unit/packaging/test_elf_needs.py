"""The needs of ELF files are found. Whether they are right for a whole executable is tested in
tests/packaged."""

from __future__ import annotations

import zlib
from pathlib import Path

import psutil
import pytest

from elf_needs import UnknownVersionError, needs_of, shown

EXTENSION = next(Path(psutil.__file__).parent.glob("_psutil_linux*.so"))


@pytest.mark.skipif(not hasattr(zlib, "__file__"), reason="zlib is part of this Python's own file")
def test_library_that_is_brought_is_not_needed() -> None:
    module = Path(str(zlib.__file__)).read_bytes()
    alone = needs_of([module])
    assert {"libc.so.6", "libz.so.1"} <= alone.libraries
    loaded = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines())
    libz = next(Path(name) for name in loaded if Path(name).name.startswith("libz.so.1"))
    together = needs_of([module, libz.read_bytes()])
    assert alone.libraries - together.libraries == {"libz.so.1"}
    assert "libz.so.1" not in together.versions


def test_newest_version_that_is_asked_for_is_told() -> None:
    content = EXTENSION.read_bytes()
    oldest = needs_of([content]).versions["libc.so.6"]["GLIBC"]
    name = f"GLIBC_{shown(oldest)}".encode()
    newer = b"GLIBC_9" + name[len(b"GLIBC_9") :]
    assert needs_of([content, content.replace(name, newer)]).versions["libc.so.6"]["GLIBC"] > (8,)


def test_version_that_says_not_how_new_it_is_is_an_error() -> None:
    content = EXTENSION.read_bytes()
    asked = needs_of([content]).versions["libc.so.6"]["GLIBC"]
    name = f"GLIBC_{shown(asked)}".encode()
    with pytest.raises(UnknownVersionError, match="GLIBC_"):
        needs_of([content.replace(name, b"GLIBC_" + b"X" * (len(name) - 6))])


def test_versions_are_ordered_by_their_numbers() -> None:
    assert (2, 4) < (2, 36)
    assert shown((2, 36)) == "2.36"
