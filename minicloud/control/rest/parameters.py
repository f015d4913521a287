"""This module has the query parameters of the REST API, and explains a wrong one.

Every endpoint refuses unknown parameters, as a misspelt filter would otherwise give an unfiltered answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from minicloud.core.errors import InvalidError

LARGEST_LIMIT = 2**31 - 1  # as on the gRPC side, where it is an int32
LARGEST_EVENT_ID = 2**63 - 1


class StatusFilter(StrEnum):
    """A status as a parameter: any case will do."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    OFFLINE = "OFFLINE"

    @classmethod
    def _missing_(cls, value: object) -> StatusFilter | None:
        return cls.__members__.get(str(value).upper())


# The allowed values of each parameter; the structs below have the types.
_ALLOWED = {
    "status": f"one of {', '.join(StatusFilter)}, in any case",
    "limit": f"a whole number from 1 to {LARGEST_LIMIT}",
    "page_token": "the one in the Link header of the page before",
    "after": f"an event id from 0 to {LARGEST_EVENT_ID}",
    "last_event_id": f"an event id from 0 to {LARGEST_EVENT_ID}",
}

# The default is UNSET and not None, as msgspec would take the text "null" for None.
_Status = (
    Annotated[StatusFilter, Meta(description="Only workers of this status; any case will do.")] | UnsetType
)
_Limit = (
    Annotated[int, Meta(ge=1, le=LARGEST_LIMIT, description="At most this many; without it, every one.")]
    | UnsetType
)
_PageToken = (
    Annotated[str, Meta(description="Where the page before ended: opaque, from its Link header.")] | UnsetType
)
_EventId = Annotated[int, Meta(ge=0, le=LARGEST_EVENT_ID, description="Only events behind this id.")]


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint without parameters."""


class WorkersQuery(Struct, frozen=True, forbid_unknown_fields=True):
    status: _Status = UNSET
    limit: _Limit = UNSET
    page_token: _PageToken = UNSET


class HealthyQuery(Struct, frozen=True, forbid_unknown_fields=True):
    limit: _Limit = UNSET
    page_token: _PageToken = UNSET


class EventsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    limit: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=LARGEST_LIMIT,
                description="At most this many; 100 without it. A stream takes no notice of it.",
            ),
        ]
        | UnsetType
    ) = UNSET
    after: _EventId | UnsetType = UNSET
    last_event_id: (
        Annotated[
            _EventId,
            Meta(description="As `after`, for clients that cannot set the Last-Event-ID header."),
        ]
        | UnsetType
    ) = UNSET


def refusal(known: Sequence[str], given: dict[str, list[str]], error: str) -> InvalidError:
    """Return the explanation of a query that msgspec refused with the text `error`: the name, its value, and
    the allowed values."""
    for name in given:
        if name not in known:
            allowed = f"use {_listed(known)}" if known else "there are none here"
            return InvalidError(f"query parameter {shown(name)} is not known: {allowed}")
        if len(given[name]) > 1:
            return InvalidError(f"{name} is given {len(given[name])} times: give it once")
    found = re.search(r"`\$\.(\w+)`", error)
    assert found is not None, f"a refused query names its parameter, not: {error}"
    name = found[1]
    return InvalidError(f"{name} is {shown(given[name][0])}: it must be {_ALLOWED[name]}")


def event_id_header(text: str) -> int:
    """Return the `Last-Event-ID` header as a number; raise `InvalidError` if it is none."""
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > LARGEST_EVENT_ID:
        raise InvalidError(f"Last-Event-ID is {shown(text)}: it must be {_ALLOWED['last_event_id']}")
    return int(text)


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def shown(text: str) -> str:
    """Return the start of a client's text, in quotes."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
