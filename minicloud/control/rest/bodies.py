"""This module reads the JSON bodies of the REST API, and explains a wrong one.

Every body may be left out. Unknown fields are refused, as a misspelt one would otherwise be ignored silently.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import request
from werkzeug.exceptions import BadRequest, UnprocessableEntity, UnsupportedMediaType

from minicloud.control.rest.envelope import MAX_KEPT_BODY_BYTES, exchange_of
from minicloud.control.rest.parameters import shown
from minicloud.core.commands import MAX_REASON_CHARS

_JSON = "application/json"
_RIGHT = 'as in {"reason": "its disk is replaced"}'


class ReasonJson(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator may say with a change."""

    reason: Annotated[
        str,
        Meta(
            max_length=MAX_REASON_CHARS,
            description="Why; shown with the worker, in the history and in the log. Empty is none.",
        ),
    ] = ""


async def reason_given() -> str:
    """Return the reason in the body of the present request; empty where there is none.

    Raise 400 for a body that is not JSON, 415 for another content type, and 422, naming the field, for JSON
    that is not a `ReasonJson`.
    """
    data = await request.get_data()
    if not data:
        return ""
    if request.mimetype not in ("", _JSON):
        raise UnsupportedMediaType(f"the body is {shown(request.mimetype)}: send {_JSON}, {_RIGHT}")
    if exchange_of(request.scope).body_was_cut:
        raise UnprocessableEntity(
            f"the body has more than {MAX_KEPT_BODY_BYTES} bytes: {_allowed('reason')}, and stand alone"
        )
    try:
        return msgspec.json.decode(data, type=ReasonJson).reason
    except msgspec.ValidationError as error:
        raise UnprocessableEntity(_fault(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON ({error}): send an object, {_RIGHT}, or none") from None


def _fault(error: str) -> str:
    """Return what is wrong with a body that msgspec refused with `error`."""
    if found := re.search(r"unknown field `(.*)`", error, re.DOTALL):
        return f"field {shown(found[1])} is not known: use {' or '.join(ReasonJson.__struct_encode_fields__)}"
    if found := re.search(r"`\$\.(\w+)`", error):
        return f"{found[1]} is not right: {_allowed(found[1])}"
    return f"the body is not an object: send one, {_RIGHT}, or none"


def _allowed(name: str) -> str:
    return f"{name} must be a string of at most {MAX_REASON_CHARS} characters"
