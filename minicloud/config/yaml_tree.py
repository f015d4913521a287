"""YAML flattened into dotted keys, each with its line: `a.b: x` and `a: {b: x}` are one.

Always holds of what comes out: every key under one of our roots is a known one, and no key was given twice.
Works on the node tree, not on loaded objects, which know neither lines nor duplicates. Does not know what any
value means.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import yaml

from minicloud.config.placeholders import Value
from minicloud.core.errors import ConfigError

ROOTS = ("minicloud", "grpc")

# Aliases make a small file large without end; no deployment's file has this many values, or this depth.
MAX_VALUES = 10_000
MAX_DEPTH = 64

_NULL = "tag:yaml.org,2002:null"


def read_tree(
    text: str, name: str, known: Mapping[str, str], canonical: Callable[[str], str]
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The values of `text` by canonical key, and the roots passed over as another program's, with lines.

    `known` maps the canonical keys to how they are shown; `name` is the file's, for messages. Raises
    `ConfigError` for bad YAML, unknown keys under our roots (naming the nearest) and keys given twice.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{name}:{mark.line + 1 if mark else 1}: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    reader = _Reader(name, known, canonical)
    if root is not None:
        reader.read(root)
    return reader.values, tuple(f"{root} (line {line})" for root, line in reader.passed_over.items())


def _problem(error: yaml.MarkedYAMLError) -> str:
    if error.context == "expected a single document in the stream":
        return "a second document (---): there are no profiles here, so keep one document a file"
    said = f"not YAML: {error.problem or error.context}"
    return f"{said}: indent with spaces, not tabs" if "'\\t'" in said else said


class _Place(NamedTuple):
    """A node's key as written and as compared, its line, and whether it is under one of our roots."""

    shown: str
    key: str
    line: int
    ours: bool


class _Reader:
    def __init__(self, name: str, known: Mapping[str, str], canonical: Callable[[str], str]) -> None:
        self.values: dict[str, Value] = {}
        self.passed_over: dict[str, int] = {}
        self._name = name
        self._known = known
        self._canonical = canonical
        self._lines: dict[str, int] = {}
        self._open: list[yaml.Node] = []  # those being walked: an alias may point at its own parent
        self._walked = 0

    def read(self, root: yaml.Node) -> None:
        line = root.start_mark.line + 1
        if not isinstance(root, yaml.MappingNode):
            raise self._error(line, "not a mapping: start with a key, as in `minicloud:`")
        self._mapping(root, _Place("", "", line, ours=False))

    def _mapping(self, node: yaml.MappingNode, place: _Place) -> None:
        if any(above is node for above in self._open):
            raise self._error(place.line, f"{place.shown} holds itself through an alias")
        if len(self._open) >= MAX_DEPTH:
            raise self._error(place.line, f"{place.shown[:60]}... is nested too deeply")
        self._open.append(node)
        lines: dict[str, int] = {}
        for key_node, child in node.value:
            below = self._below(place, key_node)
            if below is None:
                continue
            self._walked += 1
            if self._walked > MAX_VALUES:
                raise self._error(below.line, f"over {MAX_VALUES} values")
            # Another program may well tell `a-b` from `ab`; we, as Spring, do not.
            spelling = below.key if below.ours else below.shown
            if spelling in lines:
                raise self._twice(below, lines[spelling])
            lines[spelling] = below.line
            if isinstance(child, yaml.MappingNode):
                self._check_tree(below)
                self._mapping(child, below)
            else:
                self._leaf(child, below)
        self._open.pop()

    def _below(self, place: _Place, key_node: yaml.Node) -> _Place | None:
        """The place a key leads to; None for one that is not a word, in a tree that is not ours."""
        top = not self._open[1:]
        line = key_node.start_mark.line + 1
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
        if not name:
            if place.ours or top:
                raise self._error(line, "a key must be a word")
            return None
        if not top:
            return _Place(f"{place.shown}.{name}", f"{place.key}.{self._canonical(name)}", line, place.ours)
        root = name.partition(".")[0]
        ours = self._canonical(root) in ROOTS
        if not ours:
            self.passed_over.setdefault(root, line)
        return _Place(name, self._canonical(name), line, ours)

    def _check_tree(self, place: _Place) -> None:
        """Refuse an unknown tree at its root: its line says more than that of its first leaf."""
        if place.ours and place.key in self._known:
            raise self._error(place.line, f"{place.shown} takes one value, not keys of its own")
        if place.ours and not self._inside(place.key):
            raise self._unknown(place)

    def _leaf(self, node: yaml.Node, place: _Place) -> None:
        text = _text(node)
        if place.ours and place.key not in self._known:
            if not self._inside(place.key):
                raise self._unknown(place)
            if not (text is None and isinstance(node, yaml.ScalarNode)):  # else `worker:`, left empty
                inside = ", ".join(self._inside(place.key))
                raise self._error(place.line, f"{place.shown} takes keys of its own: {inside}")
        elif place.ours and text is None and isinstance(node, yaml.SequenceNode):
            raise self._error(place.line, f"{place.shown} takes a value, or a list of plain ones")
        if text is None:
            return
        if place.key in self.values:
            if place.ours:
                raise self._twice(place, self._lines[place.key])
            return
        self.values[place.key] = Value(text, f"{self._name}:{place.line}: {place.shown}")
        self._lines[place.key] = place.line

    def _inside(self, key: str) -> list[str]:
        return [shown for known, shown in self._known.items() if known.startswith(key + ".")]

    def _unknown(self, place: _Place) -> ConfigError:
        near = self._nearest(place.key)
        beside = self._inside(place.key.rpartition(".")[0]) or list(self._known.values())
        hint = f"did you mean {near}?" if near else f"known there: {', '.join(beside)}"
        return self._error(place.line, f"unknown key {place.shown}: {hint}")

    def _nearest(self, key: str) -> str:
        """The known key or tree that `key` most resembles: a neighbour, else one of its name elsewhere.

        Last words are compared, not whole paths, whose common beginning would make all neighbours alike.
        """
        parent, _, last = key.rpartition(".")
        size = key.count(".") + 1
        beside: dict[str, str] = {}
        for known, shown in self._known.items():
            if known.startswith(parent + "."):
                beside.setdefault(known.split(".")[size - 1], ".".join(shown.split(".")[:size]))
        close = difflib.get_close_matches(last, beside, n=1, cutoff=0.6)
        if close:
            return beside[close[0]]
        elsewhere = {known.rpartition(".")[2]: shown for known, shown in self._known.items()}
        close = difflib.get_close_matches(last, elsewhere, n=1, cutoff=0.8)
        return elsewhere[close[0]] if close else ""

    def _twice(self, place: _Place, before: int) -> ConfigError:
        return self._error(place.line, f"{place.shown} is given twice: it is on line {before} too")

    def _error(self, line: int, problem: str) -> ConfigError:
        return ConfigError(f"{self._name}:{line}: {problem}")


def _text(node: yaml.Node) -> str | None:
    """A scalar as written, a list of scalars with commas between; None for nothing and for anything else."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == _NULL else node.value
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return ",".join(item.value for item in node.value)
    return None
