"""Sensitive values of a payload: what a signature says is `SecretStr` reaches the job, and is shown to nobody.

Their places are read from the payload's JSON Schema, where pydantic marks them as `writeOnly`. A place that may be
secret or not (a union) counts as secret.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from taskqueue.jobtypes.signature import Json

MASK = "**********"  # as pydantic prints one


class Masking:
    """What to hide of the payloads of one signature."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions = schema.get("$defs", {})
        self._has_secrets = _mentions_secret(schema)

    def __call__(self, payload: Json) -> Json:
        """The payload with each secret masked; itself where there is none."""
        return self._masked(payload, [self._schema]) if self._has_secrets else payload

    def _masked(self, value: Json, schemas: list[Mapping[str, Any]]) -> Json:
        """The value, of which each of `schemas` may say something."""
        known = list(self._resolved(schemas))
        if any(schema.get("writeOnly") for schema in known):
            return MASK
        if isinstance(value, dict):
            return {name: self._masked(inner, list(_of_field(known, name))) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._masked(inner, list(_of_item(known, place))) for place, inner in enumerate(value)]
        return value

    def _resolved(self, schemas: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The schemas themselves, what they refer to, and the members of their unions."""
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
        more = [] if name in named else [*patterns.values(), schema.get("additionalProperties")]
        for found in [named.get(name), *more]:
            if isinstance(found, Mapping):
                yield found


def _of_item(schemas: list[Mapping[str, Any]], place: int) -> Iterator[Mapping[str, Any]]:
    for schema in schemas:
        for found in [*schema.get("prefixItems", ())[place : place + 1], schema.get("items")]:
            if isinstance(found, Mapping):
                yield found


def _mentions_secret(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("writeOnly") is True or any(map(_mentions_secret, schema.values()))
    return isinstance(schema, list) and any(map(_mentions_secret, schema))
