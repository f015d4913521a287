"""This script stands in for the Python that makes environments: it does the few calls of environment.py at
once, without a network.

`-m venv FOLDER` makes a folder whose Python is this file again; `-m pip install` prints what pip would.
STAND_IN names a fault: `venv-fails`, `venv-hangs`, `pip-fails` (before it changes anything), `pip-hangs`
(while it looks for packages), `pip-hangs-unpacking`.
"""

import os
import signal
import stat
import sys
from pathlib import Path

FAULT = os.environ.get("STAND_IN", "")


def main(arguments: list[str]) -> int:
    """Do as the arguments say and return the exit code."""
    if arguments[:3] == ["-I", "-m", "venv"]:
        return venv(Path(arguments[3]))
    if arguments[:3] == ["-I", "-m", "pip"]:
        return pip(arguments[4:])
    assert arguments[:2] == ["-I", "-c"], arguments
    print("{}.{}".format(*sys.version_info))
    return 0


def venv(folder: Path) -> int:
    (folder / "bin").mkdir(parents=True)
    if FAULT == "venv-fails":
        print("Error: ensurepip is not available")
        return 1
    hang_if("venv-hangs")
    (folder / "pyvenv.cfg").write_text("home = nowhere\n", "utf-8")
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" "$@"\n', "utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return 0


def pip(arguments: list[str]) -> int:
    if FAULT == "pip-fails":
        print("ERROR: no network")
        return 1
    print("Collecting trio==0.35.0 (from -r /somewhere/requirements/run.txt (line 7))", flush=True)
    print("  Downloading trio-0.35.0-py3-none-any.whl (511 kB)", flush=True)
    hang_if("pip-hangs")
    print("Installing collected packages: attrs, trio", flush=True)
    hang_if("pip-hangs-unpacking")
    with open(os.environ["STAND_IN_LOG"], "a", encoding="utf-8") as log:
        print(*arguments[-2:], file=log)
    return 0


def hang_if(fault: str) -> None:
    if fault == FAULT:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
