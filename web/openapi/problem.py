"""Errors in the API document: problem documents (RFC 9457)."""

from typing import Any

PROBLEM = {
    "title": "Problem",
    "description": "What is wrong (RFC 9457). `type` is for programs, `title` and `detail` are for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:problem:unknown-task"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "each thing that is wrong"},
        "known": {"type": "array", "items": {"type": "string"}, "description": "the names that would be right"},
    },
}
MEANINGS = {
    400: "The request itself is wrong",
    401: "The key is missing or wrong",
    403: "The key may not do that",
    404: "There is no such thing, or it has expired",
    409: "It cannot be done now",
    413: "It is too large",
    415: "It must be sent as JSON",
    422: "It was understood, and cannot be right",
    429: "Too many requests: `Retry-After` says when to come again",
    503: "Redis is out of reach: `Retry-After` says when to come again",
}


def problem_answer(status: int) -> dict[str, Any]:
    """The response object of an error."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": MEANINGS[status], "content": {"application/problem+json": {"schema": schema}}}
