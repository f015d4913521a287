"""Values of options that more than one command reads."""

from __future__ import annotations

from minicloud.config.durations import parse_duration_s
from minicloud.core.errors import ConfigError


def duration_s(flag: str, text: str) -> float:
    """The seconds `flag` was given as `text`; raises `ConfigError`."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {text!r} {error}") from None


def timeout_s(text: str) -> float:
    """The seconds of a --timeout, more than 0; raises `ConfigError`."""
    seconds = duration_s("--timeout", text)
    if not seconds:
        raise ConfigError("--timeout: give more than 0")
    return seconds
