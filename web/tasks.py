"""`/tasks/<id>`: ask how a task went."""

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic_core import from_json
from typing_extensions import TypedDict

from taskqueue.queue import TaskQueue
from taskqueue.signature import Json
from taskqueue.task import AttemptError, Status, Task, timestamp
from web.operation import operation
from web.problems import BadRequest


class ErrorJson(TypedDict):
    """How one attempt failed."""

    type: str
    message: str
    at: str | None
    worker: str | None
    traceback: str


class ProgressJson(TypedDict):
    """How far a task is, as its job told it last."""

    done: float
    total: float | None
    message: str
    at: str


class TaskJson(TypedDict):
    """A task as clients see it. Times are RFC 3339, in UTC."""

    id: str
    type: str
    status: Status
    payload: Json
    queue: str
    created_at: str | None
    scheduled_for: str | None
    started_at: str | None
    ended_at: str | None
    attempt: int
    attempts: int
    progress: ProgressJson | None
    result: Json
    error: ErrorJson | None
    errors: list[ErrorJson]
    worker: str | None
    tags: list[str]
    depends_on: list[str]
    held_by_limit: bool
    expires_at: str | None


def views(queue: TaskQueue) -> Blueprint:
    """The views of `/tasks`."""
    blueprint = Blueprint("tasks", __name__)

    @blueprint.get("/tasks/<task_id>")
    @operation("Ask how a task goes", scope="read", answers={200: TaskJson}, problems=(404, 503))
    def get(task_id: str) -> ResponseReturnValue:
        """Its status, progress, result and errors."""
        return jsonify(task_json(queue.get(task_id)))

    return blueprint


def json_body(limit_bytes: int) -> Json:
    """The request's body as JSON values, of at most so many bytes."""
    if not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise BadRequest(
            415,
            "not-json",
            "The body must be sent as JSON",
            f"Its Content-Type is {request.mimetype or 'missing'!r}; send -H 'Content-Type: application/json'.",
        )
    request.max_content_length = limit_bytes
    try:
        return from_json(request.get_data(), allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(400, "invalid-json", "The body is not JSON", f"{error}. Send a JSON object.") from None


def task_json(task: Task) -> TaskJson:
    """A task as clients see it."""
    return {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "payload": task.payload,
        "queue": task.queue,
        "created_at": timestamp(task.created_at),
        "scheduled_for": timestamp(task.scheduled_for),
        "started_at": timestamp(task.started_at),
        "ended_at": timestamp(task.ended_at),
        "attempt": task.attempt,
        "attempts": task.attempts,
        "progress": task.progress,
        "result": task.result,
        "error": _error_json(task.error) if task.error else None,
        "errors": [_error_json(error) for error in task.errors],
        "worker": task.worker,
        "tags": list(task.tags),
        "depends_on": list(task.depends_on),
        "held_by_limit": task.held_by_limit,
        "expires_at": timestamp(task.expires_at),
    }


def _error_json(error: AttemptError) -> ErrorJson:
    return {
        "type": error.type,
        "message": error.message,
        "at": timestamp(error.at),
        "worker": error.worker,
        "traceback": error.traceback,
    }
