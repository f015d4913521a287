"""This module finds the environment variables of a setting, and those that look like a misspelt one (DESIGN
72).

A key of the file has variables too, named by Spring Boot's relaxed binding: dots become underscores, dashes
go or become underscores, letters become upper case. `grpc.server.enable-reflection` is
`GRPC_SERVER_ENABLEREFLECTION`, and in the older form `GRPC_SERVER_ENABLE_REFLECTION`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from minicloud.config.table import CONFIG_FILE_ENV, KNOWN_KEYS, SETTINGS, URL_ENV, WORKER_ENV

PREFIX = "MINICLOUD_"

# These names of MiniCloud's set nothing: the tests and the build of the executable use them.
_NO_SETTINGS = ("MINICLOUD_EXECUTABLE", "MINICLOUD_RECORD", "MINICLOUD_SOURCES")

# Kubernetes sets NAME_PORT=tcp://10.0.0.1:9090 in every pod beside a service called NAME.
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://", re.ASCII)
# Kubernetes sets these, too, for each service, and Docker for each linked container.
_OF_A_SERVICE = re.compile(
    r".+_SERVICE_HOST|.+_SERVICE_PORT(?:_[A-Z0-9_]+)?|.+_PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?"
    r"|.+_ENV_.+",
    re.ASCII,
)

_CLOSE = 0.6
# The prefix itself may be misspelt. Other programs' names do not come this close.
_CLOSE_AS_A_WHOLE = 0.9


def is_service_link(text: str) -> bool:
    """Return True if `text` is the value of a variable that Kubernetes sets for a service."""
    return _SERVICE_LINK.match(text) is not None


def variables_of(key: str) -> tuple[str, ...]:
    """Return the variables that stand for `key` of a file, the one that wins first."""
    dotted = key.replace(".", "_").replace("[", "_").replace("]", "")
    forms = dotted.replace("-", ""), dotted.replace("-", "_")
    return tuple(dict.fromkeys([*(form.upper() for form in forms), *forms]))


def find_variable(env: Mapping[str, str], key: str) -> tuple[str, str] | None:
    """Return the variable that stands for `key`, and its text; None where there is none but a service's."""
    for name in variables_of(key):
        text = env.get(name)
        if text is not None and not is_service_link(text):
            return name, text
    return None


def misspelt(env: Mapping[str, str], known: Sequence[str] = ()) -> Iterator[str]:
    """Yield a warning for each variable that seems to be meant for MiniCloud and sets nothing.

    `known` limits the check to variables that resemble one of these. Values are never shown.
    """
    names = known or _known()
    recognised = {*_known(), *_NO_SETTINGS}
    for name in sorted(env):
        if name in recognised or is_service_link(env[name]) or _OF_A_SERVICE.fullmatch(name):
            continue
        near = _nearest(name.upper().replace("-", "_"), names)
        if near:
            yield f"the environment variable {name} sets nothing: did you mean {near}?"
        elif not known and name.upper().startswith(PREFIX):
            yield f"the environment variable {name} sets nothing: minicloud --help lists the settings"


def _nearest(name: str, names: Sequence[str]) -> str:
    if name.startswith(PREFIX):  # all begin alike, so the rest of the name is compared
        ends = [known.removeprefix(PREFIX) for known in names]
        close = difflib.get_close_matches(name.removeprefix(PREFIX), ends, n=1, cutoff=_CLOSE)
        return PREFIX + close[0] if close else ""
    if "CLOUD" not in name and not name.startswith("MINI"):
        return ""  # a cheap check that nearly every variable of other programs fails
    close = difflib.get_close_matches(name, names, n=1, cutoff=_CLOSE_AS_A_WHOLE)
    return close[0] if close else ""


def _known() -> tuple[str, ...]:
    settings = [setting.env for setting in SETTINGS if not setting.in_file_only]
    of_keys = [name for key in KNOWN_KEYS for name in variables_of(key) if name.startswith(PREFIX)]
    return tuple(dict.fromkeys([*settings, CONFIG_FILE_ENV, WORKER_ENV, URL_ENV, *of_keys]))
