"""This module reads the configuration file, the `application.yml` of a deployment, into values by key (DESIGN
71).

Keys are compared by Spring's rules: `enable-reflection`, `enableReflection` and `enable_reflection` are one.
Of several documents in the file (`---`) the later ones win, and those for a profile that is not active are
left out. Scalars stay the text they are written as; the settings interpret them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from minicloud.config.environment import find_variable
from minicloud.config.placeholders import Expander, Value
from minicloud.config.profiles import matches, split_names
from minicloud.core.errors import ConfigError
from minicloud.starting import start_error

MAX_FILE_BYTES = 1024 * 1024

_ACTIVE = "spring.profiles.active"
_DEFAULT = frozenset({"default"})
# Spring has had these two keys for the profiles of a document, here in canonical spelling.
_CONDITIONS = ("spring.config.activate.onprofile", "spring.profiles")
_SHOWN = 12


class ConfigFile:
    """A `ConfigFile` has the values of one file, or none without a file. `warnings` name the keys that set
    nothing."""

    def __init__(
        self, values: Mapping[str, Value], env: Mapping[str, str], warnings: tuple[str, ...] = ()
    ) -> None:
        self.warnings = warnings
        self._values = values
        self._expander = Expander(env, self._look_up)

    def get(self, key: str) -> Value | None:
        """Return the value of `key` as it is written, or None where the file does not have it."""
        return self._values.get(canonical(key))

    def expanded(self, value: Value) -> str:
        """Return the text of `value`, which may come from elsewhere, with its placeholders expanded."""
        return self._expander.expand(value)

    def _look_up(self, name: str) -> tuple[str, Value] | None:
        key = canonical(name)
        value = self._values.get(key)
        return None if value is None else (key, value)


def canonical(key: str) -> str:
    """Return `key` in the one spelling that all its relaxed ones share."""
    return key.replace("-", "").replace("_", "").lower()


def read_config_file(path: Path, known_keys: Collection[str], env: Mapping[str, str]) -> ConfigFile:
    """Read `path`. Raises `ConfigError`, one line with file:line, for a file or a key that cannot be used."""
    # PyYAML takes 25 ms to import, which only a start with a file has to spend.
    from minicloud.config.yaml_tree import read_documents

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        text = f"cannot read the configuration file {path}: {error.strerror or error}"
        raise start_error(text, error) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: over {MAX_FILE_BYTES} bytes: is this the configuration file?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from None
    documents = read_documents(text, str(path), {canonical(key): key for key in known_keys}, canonical)
    values: dict[str, Value] = {}
    others: list[str] = []
    unused: list[str] = []
    inactive: list[str] = []
    profiles = split_names(_text_of(find_variable(env, _ACTIVE)))
    for document in documents:
        condition = next((document.values[key] for key in _CONDITIONS if key in document.values), None)
        if condition is not None and not _is_active(condition, profiles or _DEFAULT):
            inactive.append(f"{condition.text} (line {document.line})")
            continue
        document.check()
        values |= document.values
        others += document.others
        unused += document.unused
        if not profiles and canonical(_ACTIVE) in document.values:
            profiles = split_names(document.values[canonical(_ACTIVE)].text)
    passed_over = (
        ("what is not MiniCloud's", others),
        ("settings of the gRPC starter that do nothing here", unused),
        ("documents for profiles that are not active", inactive),
    )
    warnings = (f"{path}: passed over {what}: {_listed(each)}" for what, each in passed_over if each)
    return ConfigFile(values, env, tuple(warnings))


def _is_active(condition: Value, profiles: frozenset[str]) -> bool:
    try:
        return matches(condition.text, profiles)
    except ValueError as error:
        raise ConfigError(f"{condition.where}: {condition.text[:60]!r} {error}") from None


def _text_of(variable: tuple[str, str] | None) -> str:
    return variable[1] if variable is not None else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
