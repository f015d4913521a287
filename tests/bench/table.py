"""A benchmark prints its figures one a line, each with its target where there is one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A `Figure` is one measured figure. `met` is True if it meets `target`; None where there is no
    target."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None


def print_figures(title: str, figures: list[Figure]) -> None:
    """Print `figures` as an aligned block under `title`."""
    print(f"\n{title}")
    for figure in figures:
        verdict = "" if figure.met is None else "  met" if figure.met else "  NOT MET"
        target = f"  ({figure.target}){verdict}" if figure.target else ""
        print(f"  {figure.name:<46} {figure.value:>16}{target}", flush=True)
