"""This script writes the completions and the manual pages into a folder: `make docs` into packaging/, and
`make check` into another one, to compare (DESIGN 44)."""

from __future__ import annotations

import sys
from pathlib import Path

import shtab

from manual import minicloud_1, minicloud_sim_1
from parsers import minicloud, minicloud_sim

# The shells look for these names.
_NAMES = {"bash": "{}.bash", "zsh": "_{}", "fish": "{}.fish"}


def write(folder: Path) -> None:
    for name, make in (("minicloud", minicloud), ("minicloud-sim", minicloud_sim)):
        for shell, file_name in _NAMES.items():
            _write(folder / "completions" / file_name.format(name), shtab.complete(make(), shell))
    _write(folder / "man" / "minicloud.1", minicloud_1())
    _write(folder / "man" / "minicloud-sim.1", minicloud_sim_1())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
