"""One method of one address in the API document."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, Literal

from flask import Flask

from taskqueue.web.http.endpoint import Endpoint, endpoint_of
from taskqueue.web.openapi.problem import problem_answer

PARAMETER = re.compile(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>")  # <task_id> or <int:page> of a Flask rule
Mode = Literal["validation", "serialization"]
Schemas = Mapping[Any, Any]  # by type and mode


@dataclass(frozen=True)
class Address:
    """A method of an address, and what its view says of it."""

    method: str
    path: str  # "/tasks/{task_id}"
    endpoint: str
    description: str
    declared: Endpoint

    @property
    def blueprint(self) -> str:
        """What it belongs to: "batches"; "" for the application itself."""
        return self.endpoint.rpartition(".")[0]

    def kinds(self) -> Iterator[tuple[Any, Mode]]:
        """The types that it takes and gives, each with pydantic's word for that."""
        for kind in (*self.declared.answers.values(), self.declared.body):
            if kind not in (None, bytes) and not isinstance(kind, str | tuple):
                yield kind, "validation" if kind is self.declared.body else "serialization"

    def operation_object(self, schemas: Schemas, components: str, named: dict[str, Any]) -> dict[str, Any]:
        """As OpenAPI has it. The named schemas that its query refers to are added to `named`."""
        described = self.declared
        told: dict[str, Any] = {
            "operationId": self.endpoint.replace(".", "_"),
            "tags": [self.blueprint or "others"],
            "summary": described.summary,
            "description": self.description,
            "parameters": [*self._path_parameters(), *self._query_parameters(components, named), *self._headers()],
        }
        if described.body is not None:
            told["requestBody"] = {"required": True, "content": _content(described.body, schemas, "validation")}
        told["responses"] = {
            str(status): {"description": HTTPStatus(status).phrase}
            | ({"content": _content(kind, schemas, "serialization")} if kind is not None else {})
            for status, kind in described.answers.items()
        }
        for status in sorted({*described.problems, *([400] if described.query else [])}):
            told["responses"][str(status)] = problem_answer(status, self.blueprint)
        return told

    def add_examples(self, told: dict[str, Any], examples: Mapping[Any, Any]) -> None:
        """To its bodies in the document: by their type, or by (endpoint, status)."""
        bodies = [(told.get("requestBody", {}), examples.get(self.declared.body))]
        for status, kind in self.declared.answers.items():
            bodies.append(
                (told["responses"][str(status)], examples.get((self.endpoint, status), examples.get(kind)))
            )
        for body, example in bodies:
            if example is not None:
                (content,) = body["content"].values()
                content["example"] = example

    def _path_parameters(self) -> Iterator[dict[str, Any]]:
        for name in re.findall(r"{(\w+)}", self.path):
            yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}

    def _query_parameters(self, components: str, named: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self.declared.query is None:
            return
        schema = self.declared.query.model_json_schema(ref_template=components + "{model}")
        named |= schema.get("$defs", {})
        for name, field in schema.get("properties", {}).items():
            required = name in schema.get("required", ())
            described = {"description": field["description"]} if "description" in field else {}
            yield {"name": name, "in": "query", "required": required, **_value(_not_null(field)), **described}

    def _headers(self) -> Iterator[dict[str, Any]]:
        for name, description in self.declared.headers.items():
            yield {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def addresses(app: Flask) -> list[Address]:
    """All that say what they do, those of tasks first: whoever reads looks for them."""
    found = []
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (not rule.rule.startswith("/tasks"), rule.rule)):
        described = endpoint_of(app, rule.endpoint)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}) if described else ():
            description = cleandoc(app.view_functions[rule.endpoint].__doc__ or "")
            path = PARAMETER.sub(r"{\1}", rule.rule)
            found.append(Address(method.lower(), path, rule.endpoint, description, described))  # type: ignore[arg-type]
    return found


def _content(kind: Any, schemas: Schemas, mode: Mode) -> dict[str, Any]:
    """A body: of a media type, a file of any, or JSON."""
    if isinstance(kind, str | tuple):
        return {media_type: {} for media_type in ([kind] if isinstance(kind, str) else kind)}
    if kind is bytes:
        file = {"type": "string", "format": "binary", "minLength": 1}
        form = {"type": "object", "properties": {"file": file}, "required": ["file"]}
        return {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": file}}
    return {"application/json": {"schema": schemas[kind, mode]}}


def _value(schema: dict[str, Any]) -> dict[str, Any]:
    """How a query parameter is written: as it is, or as JSON."""
    if "contentSchema" in schema:
        return {"content": {schema["contentMediaType"]: {"schema": schema["contentSchema"]}}}
    return {"schema": schema}


def _not_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter: one that is left out is None to the view, but a query cannot say null."""
    schema = {key: value for key, value in field.items() if key not in ("title", "default")}
    if "default" in field and field["default"] is not None:
        schema["default"] = field["default"]
    options = [option for option in schema.pop("anyOf", ()) if option != {"type": "null"}]
    return schema | (options[0] if len(options) == 1 else {"anyOf": options} if options else {})
