"""This module makes the OpenAPI document, once.

Parameters, summaries and descriptions come from the handlers' query structs and docstrings, by quart-schema.
Answers are stated beside each handler with `operation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from quart_schema import OpenAPIProvider, operation_id, tag
from werkzeug.routing.rules import Rule

from minicloud.control.rest import problems
from minicloud.control.rest.schemas import ProblemJson

_REF_TEMPLATE = "#/components/schemas/{name}"
_ATTRIBUTE = "_minicloud_operation"
_REQUEST_ID_HEADER = {
    "x-request-id": {
        "description": "The id of the request: the caller's own, or a new one.",
        "schema": {"type": "string"},
    }
}

# These are answers that any operation may give.
_COMMON_PROBLEMS = {
    HTTPStatus.BAD_REQUEST: "A query parameter is wrong or not known; the detail names what is allowed.",
    HTTPStatus.FORBIDDEN: "It may come from a web page that is not this server's; the detail has the remedy.",
    HTTPStatus.REQUEST_TIMEOUT: "The body of the request did not arrive in time.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body of the request is larger than 1 MB.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The control plane failed; its log has the reason.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many ask at a time: try again later.",
}

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Answer:
    """This is one successful answer: its content types, each with a type or a schema, and its own headers."""

    description: str
    content: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Operation:
    answers: dict[HTTPStatus, Answer]
    body: type[msgspec.Struct] | None
    problems: dict[HTTPStatus, str]
    header_parameters: tuple[dict[str, Any], ...]


def json_of(type_: Any, description: str, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer in JSON."""
    return Answer(description, {"application/json": type_}, headers or {})


def operation(
    name: str,
    tag_name: str,
    answers: dict[HTTPStatus, Answer],
    *,
    body: type[msgspec.Struct] | None = None,
    refusals: dict[HTTPStatus, str] | None = None,
    header_parameters: tuple[dict[str, Any], ...] = (),
) -> Callable[[Handler], Handler]:
    """State an operation's id, its group, its answers, its optional JSON body, and its refusals beyond the
    common ones."""

    def decorate(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, _Operation(answers, body, refusals or {}, header_parameters))
        return tag([tag_name])(operation_id(name)(handler))

    return decorate


def path_template(rule: Rule) -> str:
    """Return the path of `rule` in the form of OpenAPI and the metrics, such as /api/workers/{workerId}."""
    return rule.rule.replace("<worker:worker_id>", "{workerId}").replace("<", "{").replace(">", "}")


class OpenApiDocument(OpenAPIProvider):
    """This is quart-schema's document, with every answer, problem and header of each operation."""

    def schema(self) -> dict[str, Any]:
        document = super().schema()
        document["paths"] = dict(document["paths"])
        stated = [self._operation(rule) for rule in self.generate_rules()]
        types = [
            content
            for each in stated
            for answer in each.answers.values()
            for content in answer.content.values()
            if not isinstance(content, dict)
        ]
        types += [each.body for each in stated if each.body is not None]
        schemas, components = msgspec.json.schema_components(
            [*types, ProblemJson], ref_template=_REF_TEMPLATE
        )
        # A struct as an answer's type is a reference already; a list of structs is a schema of its own.
        self._schema_of = {repr(type_): schema for type_, schema in zip(types, schemas, strict=False)}
        document["components"]["schemas"].update(components)
        for schema in document["components"]["schemas"].values():
            if "enum" in schema:  # all of ours are strings, and msgspec leaves the type out
                schema["type"] = "string"
        for rule in self.generate_rules():
            self._state_answers(document, rule)
        return document

    def generate_rules(self) -> Iterable[Rule]:
        return sorted(super().generate_rules(), key=lambda rule: rule.rule)

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        name: str = func._quart_schema_operation_id  # type: ignore[attr-defined]
        return name

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, components = super().build_paths(rule)
        ((_, operations),) = paths.items()
        for described in operations.values():
            for parameter in described["parameters"]:
                if parameter["name"] == "worker_id":
                    parameter["name"] = "workerId"
        return {path_template(rule): operations}, components

    def build_querystring_parameters(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        # quart-schema's own method takes the first component for the model's, even where it is another.
        (reference,), components = msgspec.json.schema_components([model], ref_template=_REF_TEMPLATE)
        properties = components.pop(reference["$ref"].rpartition("/")[2])["properties"]
        parameters = [
            {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
            for name, schema in properties.items()
        ]
        return parameters, components

    def _operation(self, rule: Rule) -> _Operation:
        view = self._app.view_functions[rule.endpoint]
        stated: _Operation = getattr(view, _ATTRIBUTE)
        return stated

    def _state_answers(self, document: dict[str, Any], rule: Rule) -> None:
        stated = self._operation(rule)
        responses: dict[str, Any] = {}
        for status, answer in stated.answers.items():
            response: dict[str, Any] = {
                "description": answer.description,
                "headers": _REQUEST_ID_HEADER
                | {
                    name: {"description": text, "schema": {"type": "string"}}
                    for name, text in answer.headers.items()
                },
            }
            if answer.content:
                response["content"] = {
                    content_type: {
                        "schema": content if isinstance(content, dict) else self._schema_of[repr(content)]
                    }
                    for content_type, content in answer.content.items()
                }
            responses[str(status.value)] = response
        for status, text in sorted((_COMMON_PROBLEMS | stated.problems).items()):
            responses[str(status.value)] = {
                "description": text,
                "headers": _REQUEST_ID_HEADER,
                "content": {
                    problems.CONTENT_TYPE: {"schema": {"$ref": _REF_TEMPLATE.format(name="ProblemJson")}}
                },
            }
        path = path_template(rule)
        for method in self.generate_methods(rule):
            described = document["paths"][path][method.lower()]
            described["responses"] = responses
            described["parameters"] = [*described["parameters"], *stated.header_parameters]
            if stated.body is not None:
                schema = self._schema_of[repr(stated.body)]
                described["requestBody"] = {
                    "required": False,
                    "content": {"application/json": {"schema": schema}},
                }
