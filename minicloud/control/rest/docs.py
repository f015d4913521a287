"""`/docs` serves the API's documentation for a browser, and the document behind it.

All of it comes from the package: the page works without a network, and its Content-Security-Policy limits it
to this server.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import msgspec
from quart import Quart, Response
from quart_schema import QuartSchema, hide
from werkzeug.exceptions import NotFound

_FOLDER = Path(__file__).parent / "static"
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}
# The files that are served, by their names; no other file is.
_FILES = {
    "docs.css": "docs.css",
    "docs.js": "docs.js",
    "swagger-ui.css": "swagger-ui/swagger-ui.css",
    "swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js",
    "favicon.png": "swagger-ui/favicon-32x32.png",
}
PAGES = frozenset({"/", "/docs", "/docs/{name}", "/openapi.json"})

# The files, 1.9 MB, are read now, as the executable's folder may be emptied later (DESIGN 78).
_CONTENTS = {path: (_FOLDER / path).read_bytes() for path in ("docs.html", *_FILES.values())}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocsRoutes:
    """These are the handlers of the page, its files and the OpenAPI document, which is made at the first
    request for it.

    All answers are sent from one copy, however slowly clients read theirs.
    """

    def __init__(self, schema: QuartSchema) -> None:
        self._schema = schema
        self._document = b""

    def add_to(self, app: Quart) -> None:
        app.add_url_rule("/", view_func=self.root)
        app.add_url_rule("/docs", view_func=self.docs)
        app.add_url_rule("/docs/<name>", view_func=self.docs_file)
        app.add_url_rule("/openapi.json", view_func=self.openapi)

    @hide
    async def root(self) -> Response:
        return Response(b"", HTTPStatus.FOUND, {"Location": "/docs"}, content_type="text/plain")

    @hide
    async def docs(self) -> Response:
        return self._file("docs.html")

    @hide
    async def docs_file(self, name: str) -> Response:
        if name not in _FILES:
            raise NotFound
        return self._file(_FILES[name])

    @hide
    async def openapi(self) -> Response:
        if not self._document:
            # Quart's own encoder would sort the fields, and so the examples on the page.
            self._document = msgspec.json.encode(self._schema.openapi_provider.schema())
        return Response(self._document, content_type="application/json")

    def _file(self, path: str) -> Response:
        return Response(
            _CONTENTS[path],
            content_type=_CONTENT_TYPES[Path(path).suffix],
            headers={"Cache-Control": "max-age=3600", "Content-Security-Policy": _POLICY},
        )
