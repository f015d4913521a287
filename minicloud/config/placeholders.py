"""`${NAME}` and `${NAME:default}` in the values of settings are expanded by Spring's rules (DESIGN 71).

A name is looked up among environment variables first, where `control-plane.host` finds CONTROLPLANE_HOST and
CONTROL_PLANE_HOST too, then among the keys of the file. The placeholders in the value found are expanded in
turn; a default counts only where both have nothing. Defaults and names may hold placeholders themselves.
Expansion ends for all values, and fails with `ConfigError` alone (`tests/unit/config/test_placeholders.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from minicloud.config.environment import find_variable
from minicloud.core.errors import ConfigError

# A file that refers to itself in every value doubles with every level; no real configuration needs these.
MAX_EXPANSIONS = 500
MAX_DEPTH = 32
MAX_CHARS = 64 * 1024


class Value(NamedTuple):
    """A `Value` is a text as it is written, and its source: `application.yml:7: grpc.server.port`."""

    text: str
    where: str


class _Scope(NamedTuple):
    where: str
    chain: tuple[str, ...]  # the names being expanded, outermost first: one that comes again is a cycle
    depth: int


def variable(env: Mapping[str, str], name: str) -> str:
    """Return the variable `name` with its placeholders expanded by other variables alone; empty if it is not
    set."""
    return Expander(env, lambda _: None).expand(Value(env.get(name, ""), name))


class Expander:
    """An `Expander` expands placeholders. `look_up` finds a key of the file in any spelling."""

    def __init__(self, env: Mapping[str, str], look_up: Callable[[str], tuple[str, Value] | None]) -> None:
        self._env = env
        self._look_up = look_up
        self._expansions = 0

    def expand(self, value: Value) -> str:
        """Return `value` with every placeholder replaced; raises `ConfigError` with source and cause where
        one cannot be."""
        if "${" not in value.text:
            return value.text
        self._expansions = 0
        return self._text(value.text, _Scope(value.where, (), 0))

    def _text(self, text: str, scope: _Scope) -> str:
        if scope.depth > MAX_DEPTH:
            raise ConfigError(f"{scope.where}: placeholders are nested over {MAX_DEPTH} deep")
        parts: list[str] = []
        size = done = 0
        while (start := text.find("${", done)) >= 0:
            end, colon = _span(text, start, scope.where)
            parts += (text[done:start], self._placeholder(text, start, colon, end, scope))
            size += len(parts[-1]) + len(parts[-2])
            if size > MAX_CHARS:
                raise ConfigError(f"{scope.where}: its placeholders expand to over {MAX_CHARS} characters")
            done = end + 1
        parts.append(text[done:])
        return "".join(parts)

    def _placeholder(self, text: str, start: int, colon: int, end: int, scope: _Scope) -> str:
        self._expansions += 1
        if self._expansions > MAX_EXPANSIONS:
            raise ConfigError(f"{scope.where}: it takes over {MAX_EXPANSIONS} placeholders to expand")
        deeper = scope._replace(depth=scope.depth + 1)
        name = self._text(text[start + 2 : colon if colon >= 0 else end], deeper).strip()
        if not name:
            raise ConfigError(
                f"{scope.where}: {_shown(text[start : end + 1])} names nothing: write ${{NAME}}"
            )
        found = self._find(name)
        if found is not None:
            key, value = found
            if key in scope.chain:
                raise ConfigError(f"{value.where}: refers to itself: {' -> '.join((*scope.chain, key))}")
            return self._text(value.text, _Scope(value.where, (*scope.chain, key), scope.depth + 1))
        if colon >= 0:
            return self._text(text[colon + 1 : end], deeper)
        raise ConfigError(
            f"{scope.where}: {_shown(name)} is neither an environment variable nor a key of the file: "
            f"set it, or write a default as in ${{{name[:40]}:...}}"
        )

    def _find(self, name: str) -> tuple[str, Value] | None:
        """Return the variable or the key called `name`, and its value."""
        if name in self._env:
            return name, Value(self._env[name], name)
        variable = find_variable(self._env, name)
        if variable is not None:
            return variable[0], Value(variable[1], variable[0])
        return self._look_up(name)


def _span(text: str, start: int, where: str) -> tuple[int, int]:
    """Return the ends of the placeholder that opens at `start`: its `}`, and its first own colon or -1.

    Braces within it are counted, as in Spring, so that a default may be `{}`.
    """
    depth = 0
    colon = -1
    for index in range(start + 1, len(text)):
        char = text[index]
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return index, colon
        elif char == ":" and depth == 1 and colon < 0:
            colon = index
    raise ConfigError(f"{where}: {_shown(text[start:])} is not closed: a }} is missing")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
