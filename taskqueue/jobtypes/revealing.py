"""Writes Python values as the JSON values of a payload, with their secrets: pydantic itself would mask them."""

from functools import partial
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import SchemaSerializer, to_jsonable_python

SECRETS = (SecretStr, SecretBytes, Secret)
PLAIN = {str, int, float, bool, type(None)}  # such a value has no secret in it


def revealed(serializer: SchemaSerializer, model: BaseModel) -> dict[str, Any]:
    """Return the JSON values of the model's fields, as `serializer` writes them but with the values of secrets.

    Raises ValueError for a value without a JSON form.
    """
    to_python = partial(serializer.to_python, model, by_alias=True, round_trip=True, warnings=False)
    masked: dict[str, Any] = to_python(mode="json")
    if all(type(value) in PLAIN for value in (model.__dict__ | (model.__pydantic_extra__ or {})).values()):
        return masked
    # The Python values have the same structure, and still hold the secrets.
    merged: dict[str, Any] = _merged(masked, to_python())
    return merged


def _merged(masked: Any, with_secrets: Any) -> Any:
    if isinstance(with_secrets, SECRETS):
        secret = with_secrets.get_secret_value()
        return secret.decode() if isinstance(secret, bytes) else to_jsonable_python(secret)
    if isinstance(masked, dict) and isinstance(with_secrets, dict):
        # Not by key: a date that is one becomes its text in JSON.
        values = zip(masked.items(), with_secrets.values(), strict=True)
        return {name: _merged(value, secret) for (name, value), secret in values}
    if isinstance(masked, list) and isinstance(with_secrets, list | tuple | set | frozenset):
        return [_merged(*pair) for pair in zip(masked, with_secrets, strict=True)]
    return masked
