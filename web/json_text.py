"""The JSON text of an answer, whatever a job or a program beside ours has left in Redis."""

import json

from pydantic_core import to_json

from taskqueue.signature import Json


def json_text(value: Json) -> str:
    """One line, by pydantic's core, several times as fast as the standard library; NaN is told as null."""
    try:
        return to_json(value, inf_nan_mode="null").decode()
    except ValueError:  # a lone surrogate, which is told as "?", or lists in lists in lists
        return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
