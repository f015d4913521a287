"""Spring's profiles choose the documents of a file that count.

A document with `spring.config.activate.on-profile` counts only where that matches the active profiles. These
come from SPRING_PROFILES_ACTIVE, else from `spring.profiles.active` in a document before, else they are
`default`. The conditions are names, `!name`, several joined by `&` or by `|`, and lists of these, of which
one must hold. Parentheses are not supported.
"""

from __future__ import annotations

import re

_CONDITION = re.compile(r"!?[\w.@+-]+(?: *& *!?[\w.@+-]+)*|!?[\w.@+-]+(?: *\| *!?[\w.@+-]+)*")


def split_names(text: str) -> frozenset[str]:
    """Return the names in a list with commas."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def matches(conditions: str, active: frozenset[str]) -> bool:
    """Return True if one of `conditions` holds with these `active` profiles. Raises `ValueError` for a
    malformed one."""
    found = [condition.strip() for condition in conditions.split(",")]
    for condition in found:
        if not _CONDITION.fullmatch(condition):
            raise ValueError("is no condition on profiles: write names, !name, a & b, or a | b")
    return any(_holds(condition, active) for condition in found)


def _holds(condition: str, active: frozenset[str]) -> bool:
    every = all if "&" in condition else any
    return every(_is_active(name.strip(), active) for name in re.split("[&|]", condition))


def _is_active(name: str, active: frozenset[str]) -> bool:
    return name[1:] not in active if name.startswith("!") else name in active
