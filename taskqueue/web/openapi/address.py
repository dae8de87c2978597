"""A method of an address in the API document."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, Literal

from flask import Flask

from taskqueue.web.http.endpoint import Endpoint, endpoint_of
from taskqueue.web.openapi.names import NamedSchemas
from taskqueue.web.openapi.problem import problem_answer

PARAMETER = re.compile(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>")  # <task_id> or <int:page> of a Flask rule
# As web/http/body.py reads it: visible ASCII characters; quotes around them are left out.
HEADER_SCHEMAS = {"Idempotency-Key": {"pattern": '^"*[!#-~]([!-~]{0,253}[!#-~])?"*$', "maxLength": 257}}
Mode = Literal["validation", "serialization"]
Schemas = Mapping[Any, Any]  # by type and mode


@dataclass(frozen=True)
class Address:
    """A method of an address, and what its view declares."""

    method: str
    path: str  # "/tasks/{task_id}"
    endpoint: str
    description: str
    declared: Endpoint

    @property
    def blueprint(self) -> str:
        """Return the name of its blueprint: "batches"; "" for the application itself."""
        return self.endpoint.rpartition(".")[0]

    def kinds(self) -> Iterator[tuple[Any, Mode]]:
        """Yield the types of its body and its answers, each with pydantic's mode."""
        for kind in (*self.declared.answers.values(), self.declared.body):
            if kind not in (None, bytes) and not isinstance(kind, str | tuple):
                yield kind, "validation" if kind is self.declared.body else "serialization"

    def operation_object(self, schemas: Schemas, components: str, named: dict[str, Any]) -> dict[str, Any]:
        """Return OpenAPI's operation object. The named schemas that its query refers to are added to `named`."""
        declared = self.declared
        operation: dict[str, Any] = {
            "operationId": self.endpoint.replace(".", "_"),
            "tags": [self.blueprint or "others"],
            "summary": declared.summary,
            "description": self.description,
            "parameters": [*self._path_parameters(), *self._query_parameters(components, named), *self._headers()],
        }
        if declared.body is not None:
            operation["requestBody"] = {
                "required": True,
                "content": _content(declared.body, schemas, "validation"),
            }
        operation["responses"] = {
            str(status): {"description": HTTPStatus(status).phrase}
            | ({"content": _content(kind, schemas, "serialization")} if kind is not None else {})
            for status, kind in declared.answers.items()
        }
        always = [400] * bool(declared.query) + [400, 408] * (declared.body is not None)
        for status in sorted({*declared.problems, *always}):
            operation["responses"][str(status)] = problem_answer(status, self.blueprint)
        return operation

    def add_examples(self, operation: dict[str, Any], examples: Mapping[Any, Any]) -> None:
        """Add an example to each body of an operation: by its type, or by (endpoint, status)."""
        bodies = [(operation.get("requestBody", {}), examples.get(self.declared.body))]
        for status, kind in self.declared.answers.items():
            bodies.append(
                (operation["responses"][str(status)], examples.get((self.endpoint, status), examples.get(kind)))
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
        schema = self.declared.query.model_json_schema(
            ref_template=components + "{model}", schema_generator=NamedSchemas
        )
        named |= schema.get("$defs", {})
        for name, field in schema.get("properties", {}).items():
            required = name in schema.get("required", ())
            description = {"description": field["description"]} if "description" in field else {}
            yield {"name": name, "in": "query", "required": required, **_value(_not_null(field)), **description}

    def _headers(self) -> Iterator[dict[str, Any]]:
        for name, description in self.declared.headers.items():
            schema = {"type": "string"} | HEADER_SCHEMAS.get(name, {})
            yield {"name": name, "in": "header", "description": description, "schema": schema}


def addresses(app: Flask) -> list[Address]:
    """Return all addresses that declare an endpoint, those of tasks first: readers look for them."""
    result = []
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (not rule.rule.startswith("/tasks"), rule.rule)):
        declared = endpoint_of(app, rule.endpoint)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}) if declared else ():
            description = cleandoc(app.view_functions[rule.endpoint].__doc__ or "")
            path = PARAMETER.sub(r"{\1}", rule.rule)
            result.append(Address(method.lower(), path, rule.endpoint, description, declared))  # type: ignore[arg-type]
    return result


def _content(kind: Any, schemas: Schemas, mode: Mode) -> dict[str, Any]:
    """Return the content of a body: of one or several media types, an uploaded file, or JSON."""
    if isinstance(kind, str | tuple):
        return {media_type: {} for media_type in ([kind] if isinstance(kind, str) else kind)}
    if kind is bytes:
        file = {"type": "string", "format": "binary", "minLength": 1}
        form = {"type": "object", "properties": {"file": file}, "required": ["file"]}
        return {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": file}}
    return {"application/json": {"schema": schemas[kind, mode]}}


def _value(schema: dict[str, Any]) -> dict[str, Any]:
    """Return how a query parameter is written: as it is, or as JSON."""
    if "contentSchema" in schema:
        # Without an example Swagger UI makes one up, and sends it.
        return {"content": {schema["contentMediaType"]: {"schema": schema["contentSchema"], "example": None}}}
    return {"schema": schema}


def _not_null(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a query parameter. Left out it is None to the view, but a query cannot say null."""
    schema = {key: value for key, value in field.items() if key not in ("title", "default")}
    if "default" in field and field["default"] is not None:
        schema["default"] = field["default"]
    options = [option for option in schema.pop("anyOf", ()) if option != {"type": "null"}]
    return schema | (options[0] if len(options) == 1 else {"anyOf": options} if options else {})
