"""The configuration file: the `application.yml` that deployments have, as values by key.

Keys are compared as Spring compares them: `enable-reflection`, `enableReflection` and `enable_reflection` are
one. Scalars stay the text they are written as; what they mean is the settings' business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from minicloud.config.placeholders import Expander, Value
from minicloud.core.errors import ConfigError
from minicloud.starting import start_error

MAX_FILE_BYTES = 1024 * 1024


class ConfigFile:
    """One file's values. `warning` says which trees were passed over; it is empty if none was."""

    def __init__(self, values: Mapping[str, Value], env: Mapping[str, str], warning: str) -> None:
        self.warning = warning
        self._values = values
        self._expander = Expander(env, self._look_up)

    def get(self, key: str) -> Value | None:
        """The value of `key` with its placeholders expanded, or None where the file does not have it."""
        value = self._values.get(canonical(key))
        return None if value is None else Value(self._expander.expand(value), value.where)

    def _look_up(self, name: str) -> tuple[str, Value] | None:
        key = canonical(name)
        value = self._values.get(key)
        return None if value is None else (key, value)


def canonical(key: str) -> str:
    """`key` in the one spelling that all its relaxed ones share."""
    return key.replace("-", "").replace("_", "").lower()


def read_config_file(path: Path, known_keys: Collection[str], env: Mapping[str, str]) -> ConfigFile:
    """Read `path`. Raises `ConfigError`, one line with file:line, for what cannot be read or is not known."""
    # PyYAML takes 25 ms to import: only those who have a file pay.
    from minicloud.config.yaml_tree import read_tree

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
    values, passed_over = read_tree(text, str(path), {canonical(key): key for key in known_keys}, canonical)
    warning = f"{path}: passed over what is not MiniCloud's: {', '.join(passed_over)}" if passed_over else ""
    return ConfigFile(values, env, warning)
