"""The API document (OpenAPI 3.1), made from the code: the `endpoint` declarations and the job types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask
from pydantic import TypeAdapter

from taskqueue.jobtypes.registry import JobType
from taskqueue.web.http.endpoint import Payload
from taskqueue.web.openapi.address import Address, addresses
from taskqueue.web.openapi.bodies import body_examples
from taskqueue.web.openapi.example import payload_example
from taskqueue.web.openapi.names import NamedSchemas
from taskqueue.web.openapi.problem import PROBLEM, problem_answer

COMPONENTS = "#/components/schemas/"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the document says that depends on the settings and on the caller."""

    job_types: Sequence[JobType]
    queues: Sequence[str]
    keys: bool  # callers need an API key
    limited: bool  # there is a rate limit


def document(app: Flask, offer: Offer) -> dict[str, Any]:
    """Return the document of all views that declare an endpoint."""
    all_addresses = addresses(app)
    schemas, components = _schemas(all_addresses)
    with_example = (job_type for job_type in offer.job_types if payload_example(job_type) is not None)
    shown = next(with_example, None)
    examples = body_examples(shown, offer.queues[0]) if shown else {}
    paths: dict[str, Any] = {}
    for address in all_addresses:
        operation = address.operation_object(schemas, COMPONENTS, components)
        _add_names(operation, offer)
        address.add_examples(operation, examples)
        if address.declared.body is Payload:
            operation["requestBody"]["content"]["application/json"] = _payload(offer.job_types)
        if address.declared.scope is not None:
            for status in [401, 403, 429] * offer.keys + [429, 503] * offer.limited:
                operation["responses"][str(status)] = problem_answer(status, address.blueprint)
            if offer.keys:
                operation["security"] = [{"key": []}]
                operation["description"] += f"\n\nNeeds the scope `{address.declared.scope}`."
        paths.setdefault(address.path, {})[address.method] = operation
    for job_type in offer.job_types:
        components |= _payload_schemas(job_type)
    security = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if offer.keys else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Background jobs",
            "version": "1",
            "description": "Queue a task, and ask for its status and its result.",
        },
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM} | dict(sorted(components.items()))} | security,
    }


def _schemas(all_addresses: Sequence[Address]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the schema of each type in a request or an answer, and the named schemas that they refer to."""
    kinds = {kind: None for address in all_addresses for kind in address.kinds()}
    inputs = [(key, key[1], TypeAdapter(key[0])) for key in kinds]
    schemas, rest = TypeAdapter.json_schemas(
        inputs, ref_template=COMPONENTS + "{model}", schema_generator=NamedSchemas
    )
    components = {name: schema | {"title": name} for name, schema in rest.get("$defs", {}).items()}
    return {key: schema for (key, _mode), schema in schemas.items()}, components


def _add_names(operation: dict[str, Any], offer: Offer) -> None:
    """Add the names of task types and queues. Required parameters come first: readers of `/docs` fill them in."""
    for parameter in operation["parameters"]:
        if parameter["name"] == "task_type":
            parameter |= {"required": True, "schema": {"enum": [job_type.name for job_type in offer.job_types]}}
        if parameter["name"] == "queue" and "422" in operation["responses"]:  # else any queue of RQ's is allowed
            parameter["schema"] = {"enum": list(offer.queues)}
    operation["parameters"].sort(key=lambda parameter: not parameter.get("required", False))


def _payload(job_types: Sequence[JobType]) -> dict[str, Any]:
    """Return the body of `POST /tasks`: the payload of one of the job types."""
    examples = {job_type.name: payload_example(job_type) for job_type in job_types}
    return {
        "schema": {"anyOf": [{"$ref": COMPONENTS + _name(job_type)} for job_type in job_types]},
        "examples": {name: {"value": payload} for name, payload in examples.items() if payload is not None},
    }


def _payload_schemas(job_type: JobType) -> dict[str, Any]:
    """Return the schema of a job type's payload and those that it refers to, by name."""
    name, schema = _name(job_type), dict(job_type.signature.schema)
    schema = {"title": f"Payload of {job_type.name}", "description": job_type.description} | schema
    definitions = schema.pop("$defs", {})
    return {name: _moved(schema, name)} | {
        f"{name}.{inner}": _moved(definition, name) for inner, definition in definitions.items()
    }


def _name(job_type: JobType) -> str:
    return f"payload.{job_type.name}"


def _moved(schema: Any, name: str) -> Any:
    """Return the schema with its references pointed to the components of the document."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", f"{COMPONENTS}{name}.") if key == "$ref" else _moved(value, name)
            for key, value in schema.items()
        }
    return [_moved(inner, name) for inner in schema] if isinstance(schema, list) else schema
