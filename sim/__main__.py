"""Runs `minicloud-sim` as `python -m sim`."""

from __future__ import annotations

import sys

from sim.program.main import main

if __name__ == "__main__":
    sys.exit(main())
