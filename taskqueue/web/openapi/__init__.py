"""The API document (OpenAPI 3.1), made from the code: each view's `endpoint`, and the job types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from taskqueue.control.failed_tasks import Group
from taskqueue.enqueue.batch import Batch
from taskqueue.jobtypes.registry import JobType
from taskqueue.monitor.cluster_state import QueueView, TaskCounts, WorkerView
from taskqueue.monitor.listing import Summary
from taskqueue.run.files import StoredFile
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.tasks.task import Progress
from taskqueue.web.http.endpoint import Payload
from taskqueue.web.openapi.address import Address, addresses
from taskqueue.web.openapi.bodies import body_examples
from taskqueue.web.openapi.example import payload_example
from taskqueue.web.openapi.problem import PROBLEM, problem_answer

COMPONENTS = "#/components/schemas/"
NAMES = {
    QueueView: "QueueJson",
    TaskCounts: "CountsJson",
    WorkerView: "WorkerJson",
    Summary: "SummaryJson",
    Progress: "ProgressJson",
    Group: "GroupJson",
    Batch: "BatchJson",
    StoredLine: "LineJson",
    StoredFile: "FileJson",
}
"""The names of the library's own types in the document: clients are generated from it, so they do not change."""
_NAMES = {kind.__name__: name for kind, name in NAMES.items()}


class _NamedSchemas(GenerateJsonSchema):
    """JSON Schemas under the names of NAMES."""

    def normalize_name(self, name: str) -> str:
        """Return the name of a schema in the document."""
        return super().normalize_name(_NAMES.get(name, name))


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What depends on the settings, and on who asks."""

    job_types: Sequence[JobType]
    queues: Sequence[str]
    keys: bool  # a caller needs an API key
    limited: bool  # a caller may ask so often only


def document(app: Flask, offer: Offer) -> dict[str, Any]:
    """The document of all addresses that say what they do."""
    found = addresses(app)
    schemas, components = _schemas(found)
    shown = next((one for one in offer.job_types if payload_example(one) is not None), None)
    examples = body_examples(shown, offer.queues[0]) if shown else {}
    paths: dict[str, Any] = {}
    for address in found:
        told = address.operation_object(schemas, COMPONENTS, components)
        _offered(told, offer)
        address.add_examples(told, examples)
        if address.declared.body is Payload:
            told["requestBody"]["content"]["application/json"] = _payload(offer.job_types)
        if address.declared.scope is not None:
            for status in [401, 403] * offer.keys + [429, 503] * offer.limited:
                told["responses"][str(status)] = problem_answer(status, address.blueprint)
            if offer.keys:
                told["security"] = [{"key": []}]
                told["description"] += f"\n\nNeeds the scope `{address.declared.scope}`."
        paths.setdefault(address.path, {})[address.method] = told
    for job_type in offer.job_types:
        components |= _payload_schemas(job_type)
    security = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if offer.keys else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Background jobs", "version": "1", "description": "Send a task, and ask how it went."},
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM} | dict(sorted(components.items()))} | security,
    }


def _schemas(found: Sequence[Address]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type that the addresses take or give, and the named ones that they refer to."""
    kinds = {kind: None for address in found for kind in address.kinds()}
    inputs = [(key, key[1], TypeAdapter(key[0])) for key in kinds]
    schemas, rest = TypeAdapter.json_schemas(
        inputs, ref_template=COMPONENTS + "{model}", schema_generator=_NamedSchemas
    )
    components = {name: schema | {"title": name} for name, schema in rest.get("$defs", {}).items()}
    return {key: schema for (key, _mode), schema in schemas.items()}, components


def _offered(told: dict[str, Any], offer: Offer) -> None:
    """Which task types and queues there are. What must be said comes first, as a reader of `/docs` fills it in."""
    for parameter in told["parameters"]:
        if parameter["name"] == "task_type":
            parameter |= {"required": True, "schema": {"enum": [job_type.name for job_type in offer.job_types]}}
        if parameter["name"] == "queue" and "422" in told["responses"]:  # else any name is taken, as of RQ's own
            parameter["schema"] = {"enum": list(offer.queues)}
    told["parameters"].sort(key=lambda parameter: not parameter.get("required", False))


def _payload(job_types: Sequence[JobType]) -> dict[str, Any]:
    """The body of a task: the payload of one of the job types."""
    examples = {job_type.name: payload_example(job_type) for job_type in job_types}
    return {
        "schema": {"anyOf": [{"$ref": COMPONENTS + _name(job_type)} for job_type in job_types]},
        "examples": {name: {"value": payload} for name, payload in examples.items() if payload is not None},
    }


def _payload_schemas(job_type: JobType) -> dict[str, Any]:
    """The schema of a job type's payload, by name, and of the types that it refers to."""
    name, schema = _name(job_type), dict(job_type.signature.schema)
    schema = {"title": f"Payload of {job_type.name}", "description": job_type.description} | schema
    definitions = schema.pop("$defs", {})
    return {name: _moved(schema, name)} | {
        f"{name}.{inner}": _moved(definition, name) for inner, definition in definitions.items()
    }


def _name(job_type: JobType) -> str:
    return f"payload.{job_type.name}"


def _moved(schema: Any, name: str) -> Any:
    """The schema with its references to its own definitions pointed to where those stand here."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", f"{COMPONENTS}{name}.") if key == "$ref" else _moved(value, name)
            for key, value in schema.items()
        }
    return [_moved(one, name) for one in schema] if isinstance(schema, list) else schema
