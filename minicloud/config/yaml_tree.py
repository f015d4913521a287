"""This module flattens YAML into dotted keys, each with its line: `a.b: x` and `a: {b: x}` are one.

Always holds of the result, once `Document.check` has passed: every key under one of our roots is a known one
or one of the gRPC starter's, and no key was given twice (`tests/unit/config/test_file.py`). Merge keys (`<<`)
are resolved; a key of the mapping itself wins over a merged one. The code works on the node tree, not on
loaded objects, which have neither lines nor duplicates. It does not interpret values.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import yaml

from minicloud.config.placeholders import Value
from minicloud.config.starter import is_of_the_starter
from minicloud.core.errors import ConfigError

ROOTS = ("minicloud", "grpc")
STARTER_ROOT = "grpc."
CHANNELS = "grpc.client."

# Aliases make a small file large without end; no deployment's file has this many values, or this depth.
MAX_VALUES = 10_000
MAX_DEPTH = 64

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


def read_documents(
    text: str, name: str, known: Mapping[str, str], canonical: Callable[[str], str]
) -> list[Document]:
    """Return the documents of `text` that are not empty.

    `known` maps the canonical keys to the spelling for messages; `name` is the file's, for messages. Raises
    `ConfigError` for bad YAML and keys given twice.
    """
    documents = []
    try:
        for root in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if not (isinstance(root, yaml.ScalarNode) and root.tag == _NULL):
                documents.append(Document(name, known, canonical))
                documents[-1].read(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{name}:{mark.line + 1 if mark else 1}: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    return documents


def _problem(error: yaml.MarkedYAMLError) -> str:
    said = f"not YAML: {error.problem or error.context}"
    return f"{said}: indent with spaces, not tabs" if "'\\t'" in said else said


class _Place(NamedTuple):
    """A `_Place` is a node's key as written and as compared, its line, and whether its keys have to be known
    ones.

    `merged` marks a key that a `<<` brought: it gives way to one that is written out.
    """

    shown: str
    key: str
    line: int
    ours: bool
    merged: bool = False


class Document:
    """A `Document` has the values of one document by canonical key, and the names that set nothing, with
    lines.

    `others` are roots of other programs, `unused` keys of the gRPC starter that MiniCloud does not have.
    """

    def __init__(self, name: str, known: Mapping[str, str], canonical: Callable[[str], str]) -> None:
        self.values: dict[str, Value] = {}
        self.line = 1
        self._roots: dict[str, int] = {}
        self._unused: dict[str, int] = {}
        self._unknown: list[tuple[_Place, str]] = []
        self._merged: set[str] = set()
        self._name = name
        self._known = known
        self._canonical = canonical
        self._lines: dict[str, int] = {}
        self._open: list[yaml.Node] = []  # the nodes being walked: an alias may point at its own parent
        self._walked = 0

    @property
    def others(self) -> list[str]:
        return [f"{root} (line {line})" for root, line in self._roots.items()]

    @property
    def unused(self) -> list[str]:
        return [f"{key} (line {line})" for key, line in self._unused.items()]

    def check(self) -> None:
        """Raise `ConfigError` for the first key that is unknown under one of our roots, naming the nearest.

        A channel of the starter with a name like one of ours is another channel where ours is there too.
        """
        for place, near in self._unknown:
            if not self._is_another_channel(place, near):
                raise self._unknown_error(place, near)
            self._unused[place.shown] = place.line

    def read(self, root: yaml.Node) -> None:
        self.line = root.start_mark.line + 1
        if not isinstance(root, yaml.MappingNode):
            raise self._error(self.line, "not a mapping: start with a key, as in `minicloud:`")
        self._mapping(root, _Place("", "", self.line, ours=False))

    def _mapping(self, node: yaml.MappingNode, place: _Place) -> None:
        if any(above is node for above in self._open):
            raise self._error(place.line, f"{place.shown} holds itself through an alias")
        if len(self._open) >= MAX_DEPTH:
            raise self._error(place.line, f"{place.shown[:60]}... is nested too deeply")
        self._open.append(node)
        lines: dict[str, int] = {}
        for key_node, child, merged in self._pairs(node, (node,)):
            below = self._below(place, key_node)
            if below is None:
                continue
            # Another program may distinguish `a-b` from `ab`; MiniCloud, like Spring, does not.
            spelling = below.key if below.ours else below.shown
            if spelling in lines:
                if merged:
                    continue
                raise self._twice(below, lines[spelling])
            lines[spelling] = below.line
            below = below._replace(merged=merged or place.merged)
            if below.ours and self._is_unknown(below):
                below = self._pass_over(below)
            if isinstance(child, yaml.MappingNode):
                self._check_tree(below)
                self._mapping(child, below)
            else:
                self._leaf(child, below)
        self._open.pop()

    def _pairs(
        self, node: yaml.MappingNode, chain: tuple[yaml.Node, ...]
    ) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Yield the keys of `node` with their values, then those merged into it, nearest first.

        Of a list of mappings to merge, the first has precedence, by the merge type's specification.
        """
        sources: list[tuple[int, yaml.Node]] = []
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            self._walked += 1
            if self._walked > MAX_VALUES:
                raise self._error(line, f"over {MAX_VALUES} values")
            if key_node.tag == _MERGE:
                several = isinstance(child, yaml.SequenceNode)
                sources += [(line, source) for source in (child.value if several else [child])]
            else:
                yield key_node, child, len(chain) > 1
        for line, source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise self._error(line, "<< takes a mapping, or a list of them, as in <<: *common")
            if any(above is source for above in chain):
                raise self._error(line, "<< merges a mapping into itself")
            if len(chain) > MAX_DEPTH:
                raise self._error(line, "<< is nested too deeply")
            yield from self._pairs(source, (*chain, source))

    def _below(self, place: _Place, key_node: yaml.Node) -> _Place | None:
        """Return the place of a key; None for one that is not a word, in a tree that is not ours."""
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
            self._roots.setdefault(root, line)
        return _Place(name, self._canonical(name), line, ours)

    def _is_unknown(self, place: _Place) -> bool:
        return place.key not in self._known and not self._inside(place.key)

    def _pass_over(self, place: _Place) -> _Place:
        """Return the place of an unknown key. It is reported itself, so nothing below it is checked."""
        near = self._near(place.key)
        if place.key.startswith(STARTER_ROOT) and not near:
            self._unused.setdefault(place.shown, place.line)
        else:
            self._unknown.append((place, near))
        return place._replace(ours=False)

    def _near(self, key: str) -> str:
        """Return the key of ours that `key` is a misspelling of; empty for a key of another program."""
        if key.startswith(CHANNELS):
            channels = {
                known.split(".")[2]: ".".join(shown.split(".")[:3])
                for known, shown in self._known.items()
                if known.startswith(CHANNELS)
            }
            channel = key.split(".")[2]
            if channel not in channels:
                close = difflib.get_close_matches(channel, channels, n=1, cutoff=0.8)
                return channels[close[0]] if close else ""
        return "" if is_of_the_starter(key) else self._nearest(key)

    def _is_another_channel(self, place: _Place, near: str) -> bool:
        prefix = self._canonical(near) + "."
        return place.key.startswith(CHANNELS) and any(key.startswith(prefix) for key in self.values)

    def _check_tree(self, place: _Place) -> None:
        if place.ours and place.key in self._known:
            raise self._error(place.line, f"{place.shown} takes one value, not keys of its own")

    def _leaf(self, node: yaml.Node, place: _Place) -> None:
        text = _text(node)
        if place.ours and place.key not in self._known:
            # A tree that is left empty, as in `worker:`, is no error.
            if not (text is None and isinstance(node, yaml.ScalarNode)):
                inside = ", ".join(self._inside(place.key))
                raise self._error(place.line, f"{place.shown} takes keys of its own: {inside}")
        elif place.ours and text is None and isinstance(node, yaml.SequenceNode):
            raise self._error(place.line, f"{place.shown} takes a value, or a list of plain ones")
        if text is None:
            return
        if place.key in self.values and place.key not in self._merged:
            if place.ours and not place.merged:
                raise self._twice(place, self._lines[place.key])
            return
        if place.merged:
            self._merged.add(place.key)
        else:
            self._merged.discard(place.key)
        self._store(place, place.key, text)
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self._store(place, f"{place.key}[{number}]", item.value)

    def _store(self, place: _Place, key: str, text: str) -> None:
        self.values[key] = Value(text, f"{self._name}:{place.line}: {place.shown}")
        self._lines[key] = place.line

    def _inside(self, key: str) -> list[str]:
        return [shown for known, shown in self._known.items() if known.startswith(key + ".")]

    def _unknown_error(self, place: _Place, near: str) -> ConfigError:
        beside = self._inside(place.key.rpartition(".")[0]) or list(self._known.values())
        hint = f"did you mean {near}?" if near else f"known there: {', '.join(beside)}"
        return self._error(place.line, f"unknown key {place.shown}: {hint}")

    def _nearest(self, key: str) -> str:
        """Return the known key or tree that `key` most resembles: a neighbour, else one of its name
        elsewhere.

        Last words are compared, not whole paths, whose common beginning would make all neighbours alike.
        """
        parent, _, last = key.rpartition(".")
        size = key.count(".") + 1
        beside: dict[str, str] = {}
        for known, shown in self._known.items():
            if known.startswith(parent + "."):
                beside.setdefault(known.split(".")[size - 1], ".".join(shown.split(".")[:size]))
        # A key below `grpc` may be another library's, so only a closer likeness counts as a slip.
        cutoff = 0.72 if key.startswith(STARTER_ROOT) else 0.6
        close = difflib.get_close_matches(last, beside, n=1, cutoff=cutoff)
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
    """Return a scalar as written, a list of scalars with commas between; None for nothing and for anything
    else."""
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == _NULL else node.value
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return ",".join(item.value for item in node.value)
    return None
