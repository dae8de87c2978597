"""The JSON text of an answer, also of values that JSON does not allow: a job or another program wrote them."""

import json
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any

from flask.json.provider import JSONProvider
from pydantic_core import from_json, to_json

from taskqueue.store.times import timestamp


def plain(value: Any) -> Any:
    """Return dicts for dataclasses, RFC 3339 texts for times, and lists for tuples, at any depth."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return timestamp(value)
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def json_text(value: Any) -> str:
    """Return one line of JSON; NaN and infinity become null.

    pydantic's core makes it, several times as fast as the standard library. A dict must be `plain` already, as
    the task is, the most frequent answer.
    """
    if not isinstance(value, dict):
        value = plain(value)
    try:
        return to_json(value, inf_nan_mode="null").decode()
    except ValueError:  # a lone surrogate, which becomes "?", or lists nested too deep for pydantic
        return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()


class FastJson(JSONProvider):
    """Flask's JSON by pydantic's core, several times as fast as the standard library; fields keep their order."""

    def dumps(self, obj: Any, **_: Any) -> str:
        """Return one line of text with a line end, for terminals."""
        return json_text(obj) + "\n"

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """Return the value of a JSON text."""
        return from_json(s)
