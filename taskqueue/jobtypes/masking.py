"""Masks secrets in payloads: a value that the signature declares as `SecretStr` reaches only the job itself.

The payload's JSON Schema says which values are secret: pydantic marks them as `writeOnly`. A value that may be
secret or not (a union) counts as secret.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from taskqueue.jobtypes.signature import Json

MASK = "**********"  # as pydantic prints a secret


class Masking:
    """Masks the secrets in the payloads of one signature."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions = schema.get("$defs", {})
        self._has_secrets = _mentions_secret(schema)

    def __call__(self, payload: Json) -> Json:
        """Return the payload with each secret masked; the payload itself if its type has no secrets."""
        return self._masked(payload, [self._schema]) if self._has_secrets else payload

    def _masked(self, value: Json, schemas: list[Mapping[str, Any]]) -> Json:
        """Return the value with its secrets masked; each of `schemas` may describe a part of it."""
        resolved = list(self._resolved(schemas))
        if any(schema.get("writeOnly") for schema in resolved):
            return MASK
        if isinstance(value, dict):
            return {name: self._masked(inner, list(_of_field(resolved, name))) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._masked(inner, list(_of_item(resolved, index))) for index, inner in enumerate(value)]
        return value

    def _resolved(self, schemas: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the schemas, those that they refer to, and the members of their unions."""
        for schema in schemas:
            yield schema
            name = schema.get("$ref", "").removeprefix("#/$defs/")
            members = [
                *([self._definitions[name]] if name else []),
                *(member for union in ("anyOf", "oneOf", "allOf") for member in schema.get(union, ())),
            ]
            yield from self._resolved(members)


def _of_field(schemas: list[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    for schema in schemas:
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        unnamed = [] if name in named else [*patterns.values(), schema.get("additionalProperties")]
        for field_schema in [named.get(name), *unnamed]:
            if isinstance(field_schema, Mapping):
                yield field_schema


def _of_item(schemas: list[Mapping[str, Any]], index: int) -> Iterator[Mapping[str, Any]]:
    for schema in schemas:
        for item_schema in [*schema.get("prefixItems", ())[index : index + 1], schema.get("items")]:
            if isinstance(item_schema, Mapping):
                yield item_schema


def _mentions_secret(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("writeOnly") is True or any(map(_mentions_secret, schema.values()))
    return isinstance(schema, list) and any(map(_mentions_secret, schema))
