"""The parsers of the settings' values turn text into a checked value.

Each raises `ValueError` whose text follows the value in a sentence: "is not a port: give ...". The caller
knows the source of the text and puts that in front.

Modules that only some values need are imported when one is parsed: `--help` parses none, and should be quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from minicloud.config.durations import format_duration, parse_duration_s
from minicloud.core.errors import InvalidError

if TYPE_CHECKING:
    from minicloud.net.address import Address

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_ORIGIN = re.compile(r"https?://([a-z0-9._-]{1,253}|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_SPRING_SCHEMES = ("static://", "dns:///", "dns://")


def boolean(text: str) -> bool:
    """Parse `true` or `false`, in any case; yes/no, on/off and 1/0 as well."""
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("is neither true nor false")


def choice(*words: str) -> Callable[[str], str]:
    """Return a parser that takes one of `words`, in any case."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return word

    return parse


def duration_s(least_s: float, most_s: float) -> Callable[[str], float]:
    """Return a parser of a duration in seconds, `least_s` to `most_s` inclusive."""

    def parse(text: str) -> float:
        seconds = parse_duration_s(text)
        if not least_s <= seconds <= most_s:
            raise ValueError(f"is out of range: give {format_duration(least_s)} to {format_duration(most_s)}")
        return seconds

    return parse


def port(text: str) -> int:
    """Parse a TCP port to listen on; 0 has the system choose."""
    digits = text.strip()
    if digits.isascii() and digits.isdecimal() and len(digits) <= 5 and int(digits) <= 65535:
        return int(digits)
    raise ValueError("is not a port: give 1 to 65535, or 0 for any free one")


def hosts(text: str) -> tuple[str, ...]:
    """Parse names or addresses to listen on, with commas between; `*` is every IPv4 address."""
    from minicloud.net.address import parse_host

    names = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys("0.0.0.0" if name == "*" else parse_host(name) for name in names))


def host_names(text: str) -> tuple[str, ...]:
    """Parse names without a port, with commas between; `*.` in front is every name under the rest, `*` is
    any."""
    names = [part.strip().lower().removesuffix(".") for part in text.split(",")] if text.strip() else []
    for name in names:
        if name != "*" and not _HOST_NAME.fullmatch(name.removeprefix("*.")):
            raise ValueError(
                "is not NAME[,NAME]: give names without a port, as in cloud.example.com or *.example.com"
            )
    return tuple(dict.fromkeys(names))


def origins(text: str) -> tuple[str, ...]:
    """Parse origins in the form that browsers send, with commas between: a scheme, a host, and a port unless
    it is the scheme's own."""
    found = [part.strip().lower().removesuffix("/") for part in text.split(",")] if text.strip() else []
    for origin in found:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                "is not ORIGIN[,ORIGIN]: give what the browser's address bar begins with, "
                "as in https://ops.example.com or http://10.0.0.7:8080"
            )
    standard = (origin.removesuffix(":443" if origin.startswith("https") else ":80") for origin in found)
    return tuple(dict.fromkeys(standard))


def advertised(text: str) -> str | None:
    """Parse the host:port at which others reach this worker; empty leaves it to the worker to find out."""
    from minicloud.net.address import is_wildcard, parse_address

    endpoint = text.strip()
    if not endpoint:
        return None
    address = parse_address(endpoint)
    if is_wildcard(address.host):
        raise ValueError("is an address that nobody can reach: give the one that others use")
    return str(address)


def endpoints(text: str) -> tuple[Address, ...]:
    """Parse one or more host:port, with commas between; Spring's `static://` and `dns:///` are passed
    over."""
    from minicloud.net.address import parse_address

    bare = text.strip()
    for scheme in _SPRING_SCHEMES:
        bare = bare.removeprefix(scheme)
    if "://" in bare or ":///" in bare:
        raise ValueError("has a scheme other than static:// and dns:///: give HOST:PORT[,HOST:PORT]")
    try:
        return tuple(dict.fromkeys(parse_address(part.strip()) for part in bare.split(",")))
    except ValueError:
        raise ValueError(
            "is not HOST:PORT[,HOST:PORT]: give e.g. 127.0.0.1:9090 or cp-1:9090,cp-2:9090"
        ) from None


def worker_id(text: str) -> str:
    """Parse a worker's wanted id; empty has the control plane generate one."""
    from minicloud.core.commands import RESERVED_IDS, check_worker_id

    wanted = text.strip()
    if wanted in RESERVED_IDS:
        raise ValueError("is reserved: choose another id")
    if wanted:
        try:
            check_worker_id(wanted)
        except InvalidError:
            raise ValueError("is not an id: use 1 to 128 of the characters A-Z a-z 0-9 . _ -") from None
    return wanted


def zone(text: str) -> str:
    """Parse a failure domain's name. It becomes a column, a label and a metadata value, so it is kept
    short."""
    name = text.strip()
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise ValueError("is not a zone: give 1 to 128 printable characters, as in eu-west-1a")
    return name


class DataDir(StrEnum):
    """A `DataDir` is a word that may stand in place of a data folder."""

    NONE = "none"
    DEFAULT = ""


def data_dir(text: str) -> Path | DataDir:
    """Parse a folder; `none` keeps everything in memory, and empty is the default folder of the role."""
    name = text.strip()
    if name.lower() == DataDir.NONE:
        return DataDir.NONE
    if not name:
        return DataDir.DEFAULT
    if "\0" in name:
        raise ValueError("is not a folder's name")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ValueError("names a home folder that cannot be found: give an absolute path") from None


def count(text: str) -> int:
    """Parse a whole number, 1 or more."""
    if text.isascii() and text.isdecimal() and int(text) >= 1:
        return int(text)
    raise ValueError("is not a count: give a whole number, 1 or more")


def failures(text: str) -> int | None:
    """Parse a count of 1 or more, or `never`."""
    word = text.strip().lower()
    if word == "never":
        return None
    if word.isascii() and word.isdecimal() and len(word) <= 9 and int(word) >= 1:
        return int(word)
    raise ValueError("is not a count: give 1 or more, or never")


def plaintext(text: str) -> None:
    """Check the security of connections; only `plaintext` is accepted for now."""
    if text.strip().lower() != "plaintext":
        raise ValueError(
            "is not available: this version speaks plaintext only, so write plaintext or leave it out"
        )


def no_security(text: str) -> None:
    """Check that security of connections is not asked for; only `false` is accepted for now."""
    if boolean(text):
        raise ValueError(
            "is not available: this version speaks plaintext only, so write false or leave it out"
        )
