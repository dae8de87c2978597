"""Makes an example of a JSON value from its JSON Schema."""

from collections.abc import Mapping
from typing import Any

from taskqueue.jobtypes.masking import MASK
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json

FORMATS = {
    "email": "ada@example.com",
    "date": "2026-11-24",
    "date-time": "2026-11-24T10:43:05Z",
    "time": "10:43:05Z",
    "duration": "PT5M",
    "uri": "https://example.com/",
    "uuid": "6f1c2f0e-3d0a-4a53-9a3c-0d0c3f3f2a11",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "password": MASK,
}


def payload_example(job_type: JobType) -> Json:
    """Return a valid payload of the job type with its required fields; None: none was found."""
    schema = job_type.signature.schema
    try:
        payload = _example(schema, schema.get("$defs", {}))
        job_type.arguments(payload)
    except Exception:  # noqa: BLE001  a pattern, or a validator: no example is better than a wrong one
        return None
    return payload


def result_example(job_type: JobType) -> Json:
    """Return what a job of this type may return; null if its function does not say."""
    schema = job_type.signature.result_schema
    return _example(schema, schema.get("$defs", {})) if schema else None


def _example(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Json:
    for given in ("const", "default", "example"):
        if given in schema:
            return schema[given]
    for listed in ("examples", "enum"):
        if schema.get(listed):
            return schema[listed][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return _example(schema[union][0], definitions)
    if "$ref" in schema:
        return _example(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: _example(fields[name], definitions) for name in schema.get("required", ())}
        case "array":
            items = [*schema.get("prefixItems", ())] or [schema.get("items", {})] * schema.get("minItems", 1)
            return [_example(item, definitions) for item in items]
        case "string":
            text = FORMATS.get(schema.get("format", ""), "text")
            return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return True
    return None
