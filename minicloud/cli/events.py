"""`minicloud events` shows the history of membership, and with `--follow` each further change."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from minicloud.cli import exits
from minicloud.cli.exits import OperationError
from minicloud.cli.output import note
from minicloud.cli.parser import Parser, operator_parser
from minicloud.cli.rest import RefusedError, Rest, UnreachableError
from minicloud.cli.text import Paint, clean, number, pad
from minicloud.cli.workers import STATUS_STYLES, utc

PATH = "/api/events"

# The control plane sends something, if only a comment, more often than this.
_IDLE_S = 60.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0

_PAGE = 1000

_DETAILS = """\
--since takes an id, as shown in the second column, and gives all that came after it. With -f, the connection
is made again when it breaks, and nothing in between is missed as long as the control plane still has it.
Ctrl-C ends it with exit code 130."""


class ServerEvent(NamedTuple):
    """A `ServerEvent` is one event of a stream. `id` is the last id of the stream so far. `data` is empty
    where the event had only an id."""

    id: str
    kind: str
    data: str


def events_parser() -> Parser:
    """Return the parser of `minicloud events`."""
    parser = operator_parser("events", _DETAILS)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    parser.add_argument(
        "-n", "--lines", metavar="N", type=_whole, help="the newest N first (default: 100; with -f, 10)"
    )
    parser.add_argument("--since", metavar="ID", type=_whole, help="everything after this event instead")
    return parser


def events(arguments: Sequence[str], sleep: Callable[[float], None] = time.sleep) -> int:
    """Run `minicloud events`."""
    parser = events_parser()
    options = parser.parse_args(arguments)
    if options.since and options.lines:
        parser.error("--lines and --since do not go together")
    rest = Rest.of(options)
    paint = Paint(sys.stdout)
    last_id = options.since
    for entry in _history(rest, options.since, options.lines or ("10" if options.follow else "100")):
        print(json.dumps(entry) if options.json else line(entry, paint))
        last_id = str(entry.get("eventId", ""))
    if options.follow:
        sys.stdout.flush()
        if sys.stderr.isatty():
            print(f"following {rest.url}; Ctrl-C ends it", file=sys.stderr)
        for entry in follow(rest, last_id, sleep):
            print(json.dumps(entry) if options.json else line(entry, paint), flush=True)
    return exits.OK


def _history(rest: Rest, since: str | None, newest: str) -> Iterator[Mapping[str, Any]]:
    if since is None:
        if newest != "0":
            yield from rest.pages(PATH, {"limit": newest})
        return
    while True:
        page = rest.pages(PATH, {"after": since, "limit": str(_PAGE)})
        yield from page
        if len(page) < _PAGE:
            return
        since = str(page[-1].get("eventId", ""))


def follow(rest: Rest, since: str | None, sleep: Callable[[float], None]) -> Iterator[Mapping[str, Any]]:
    """Yield every entry after `since` (None: from now on), for ever; breaks of the connection are bridged.

    Raises `OperationError` where the control plane cannot be reached at first, or refuses.
    """
    reached = False
    pause_s = _FIRST_PAUSE_S
    while True:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": since} if since else {})}
        try:
            for event in server_events(rest.lines(PATH, headers, _IDLE_S)):
                reached, pause_s = True, _FIRST_PAUSE_S
                since = event.id or since
                if event.kind == "gap":
                    note("some events were missed: they are no longer kept")
                elif event.data:
                    yield _entry(event)
            problem = f"{rest.url} ended the stream"
        except (UnreachableError, RefusedError) as error:
            if not reached or (isinstance(error, RefusedError) and error.status < 500):
                raise
            problem = str(error)
        if pause_s == _FIRST_PAUSE_S:
            note(f"{problem}; trying again")
        sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def server_events(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Yield the events in the lines of a stream by the rules of the HTML standard (9.2.6).

    An id counts even without data; an event that the end of the stream cuts off does not.
    """
    last_id = told_id = kind = ""
    data: list[str] = []
    for raw in lines:
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            if data or last_id != told_id:
                yield ServerEvent(last_id, kind or "message", "\n".join(data))
                told_id = last_id
            kind, data = "", []
            continue
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value


def line(entry: Mapping[str, Any], paint: Paint) -> str:
    """Format one entry as a line: time, id, kind, worker, the status before and after, reason."""
    detail = clean(entry.get("detail", ""))
    kind = clean(entry.get("kind", "")) + (f" ({detail})" if detail else "")
    old, new = clean(entry.get("oldStatus", "")), clean(entry.get("newStatus", ""))
    change = new if old == new else f"{old} -> {new}"
    return "  ".join(
        (
            paint(utc(number(entry, "atMs")), "dim"),
            pad(clean(entry.get("eventId", "")), 6, right=True),
            pad(kind, 21),
            paint(pad(clean(entry.get("workerId", "")), 16), "bold"),
            paint(pad(change, 22), STATUS_STYLES.get(new, "")),
            clean(entry.get("reason", "")),
        )
    ).rstrip()


def _entry(event: ServerEvent) -> Mapping[str, Any]:
    try:
        entry = json.loads(event.data)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        raise OperationError(f"an event that is no JSON object came: {event.data[:80]!r}")
    return entry


def _whole(text: str) -> str:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return text
