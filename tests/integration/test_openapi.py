"""schemathesis sends requests that the OpenAPI document allows, and others, to a live server, and checks
every answer against the document."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.unit.control.rest.kit import Rest, json_of

EXAMPLES = 20  # for each operation, besides the cases at the edges of every parameter


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Return the address of a control plane with some workers on a port of its own, in a thread."""
    started: queue.Queue[tuple[int, Callable[[], None]]] = queue.Queue()

    async def serve() -> None:
        ended = trio.Event()
        token = trio.lowlevel.current_trio_token()
        rest = Rest()
        rest.register("w1", "w2", "w3")
        rest.readiness.mark_ready()
        async with rest.served() as port:
            started.put((port, lambda: token.run_sync_soon(ended.set)))
            await ended.wait()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    port, end = started.get(timeout=30)
    yield f"http://127.0.0.1:{port}"
    end()
    thread.join(timeout=30)
    assert not thread.is_alive()


async def document() -> dict[str, Any]:
    found: dict[str, Any] = await json_of(await Rest().client.get("/openapi.json"))
    return found


# The document is read as the module is imported, not by a fixture: pytest 9.2 breaks schemathesis's fixtures.
schema = schemathesis.openapi.from_dict(trio.run(document))


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_every_operation_answers_as_the_document_says(case: schemathesis.Case[Any], base_url: str) -> None:
    # A page token is opaque, so the document is right although a made-up one is refused.
    excluded: list[Callable[..., bool | None]] = (
        [positive_data_acceptance] if "page_token" in case.query else []
    )
    case.call_and_validate(base_url=base_url, timeout=10, excluded_checks=excluded)
