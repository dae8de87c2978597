"""Problem documents (RFC 9457) in the API document."""

from typing import Any

from taskqueue import errors
from taskqueue.web.openapi.example import FORMATS

PROBLEM = {
    "title": "Problem",
    "description": "An error (RFC 9457). `type` is for programs, `title` and `detail` are for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:problem:unknown-task"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "each error"},
        "known": {"type": "array", "items": {"type": "string"}, "description": "the names that are valid"},
    },
}
MEANINGS = {
    400: "The request itself is wrong",
    401: "The key is missing or wrong",
    403: "The key does not allow this",
    404: "Not found, or expired",
    408: "The body came too slowly",
    409: "Not possible now",
    413: "Too large",
    415: "The body must be sent as JSON",
    422: "Understood, but not valid",
    429: "Too many requests: `Retry-After` says in how many seconds to try again",
    503: "Redis is unavailable, or the server is busy: `Retry-After` says in how many seconds to try again",
}
ID = FORMATS["uuid"]
NO_QUEUE = errors.UnknownQueue("hihg", ["high", "default", "low"])
NO_TYPE = errors.UnknownJobType("emial", ["email"])
EXAMPLES: dict[int | tuple[str, int], tuple[str, str, str]] = {  # code, title, detail
    400: (
        "unknown-parameter",
        "Unknown query parameter",
        "There is no parameter 'taks_type'; the parameters are task_type, ….",
    ),
    ("schedules", 400): (
        "invalid-json",
        "The body is not JSON",
        "expected value at line 1 column 1. Send a JSON object.",
    ),
    ("type_limits", 400): (
        "invalid-json",
        "The body is not JSON",
        "expected value at line 1 column 1. Send a JSON object.",
    ),
    401: ("no-key", "Authentication required", "This needs a key. Send Authorization: Bearer KEY."),
    403: (
        "scope-missing",
        "The key's scope is too small",
        "This needs the scope 'operate'; the key 'shop' has 'submit'.",
    ),
    404: ("unknown-task", "There is no such task", str(errors.UnknownTask(ID))),
    ("batches", 404): ("unknown-batch", "There is no such batch", str(errors.UnknownBatch(ID))),
    ("schedules", 404): ("unknown-schedule", "There is no such schedule", str(errors.UnknownSchedule("nightly"))),
    ("files", 404): ("unknown-file", "There is no such file", str(errors.UnknownFile("photo.jpg"))),
    ("pauses", 404): ("unknown-queue", "There is no such queue", str(NO_QUEUE)),
    ("task_types", 404): ("unknown-task-type", "There is no such task type", str(NO_TYPE)),
    ("type_limits", 404): ("unknown-task-type", "There is no such task type", str(NO_TYPE)),
    ("docs", 404): ("not-found", "There is nothing at this address", "GET /docs/other.js"),
    408: ("body-timeout", "The body came too slowly", "64 KiB, or the rest, must come within 20 s."),
    409: ("still-processing", "The first request is being processed", str(errors.StillProcessing())),
    ("operations", 409): (
        "wrong-status",
        "The task's status does not allow this",
        str(errors.WrongStatus(ID, "complete", "It has ended.")),
    ),
    ("schedules", 409): ("too-many-schedules", "There are too many schedules", str(errors.TooManySchedules(1000))),
    413: (
        "request-entity-too-large",
        "The request is too large",
        "POST /tasks: at most 1,048,576 bytes are accepted",
    ),
    ("batches", 413): ("too-large", "The batch is too large", str(errors.BatchTooLarge(10_000))),
    ("schedules", 413): (
        "request-entity-too-large",
        "The request is too large",
        "PUT /schedules/nightly: at most 65,536 bytes are accepted",
    ),
    ("type_limits", 413): (
        "request-entity-too-large",
        "The request is too large",
        "PUT /task-types/email/limits: at most 1,000 bytes are accepted",
    ),
    ("files", 413): ("too-large", "The file is too large", str(errors.FileTooLarge(16_777_216))),
    415: (
        "not-json",
        "The body must be sent as JSON",
        "Its Content-Type is 'missing'; send 'Content-Type: application/json'.",
    ),
    422: ("unknown-task-type", "There is no such task type", str(NO_TYPE)),
    ("batches", 422): ("invalid-batch", "A task cannot be queued", str(errors.InvalidBatch([], 1, 2))),
    ("type_limits", 422): (
        "invalid-limits",
        "Invalid limits",
        "/concurrency: Input should be greater than or equal to 1",
    ),
    ("requeue", 422): ("unknown-queue", "There is no such queue", str(NO_QUEUE)),
    429: ("too-many-requests", "Too many requests", "At most 600 requests in 60 s are allowed; try again in 7 s."),
    503: ("queue-unavailable", "The queue is unavailable", "Redis did not answer."),
}


def problem_answer(status: int, blueprint: str = "") -> dict[str, Any]:
    """Return the response object of an error, with an example for the addresses of this blueprint."""
    code, title, detail = EXAMPLES.get((blueprint, status)) or EXAMPLES[status]
    content = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": {"type": f"urn:problem:{code}", "title": title, "status": status, "detail": detail},
    }
    return {"description": MEANINGS[status], "content": {"application/problem+json": content}}
