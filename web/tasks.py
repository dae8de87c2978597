"""`/tasks`: send a task, and ask how it went."""

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from pydantic_core import from_json

from taskqueue.queue import TaskQueue
from taskqueue.signature import Json
from taskqueue.task import AttemptError, Task, timestamp
from web.problems import BadRequest

PARAMETERS = ("task_type", "queue")


def views(queue: TaskQueue) -> Blueprint:
    """The views of `/tasks`."""
    blueprint = Blueprint("tasks", __name__)

    @blueprint.post("/tasks")
    def submit() -> ResponseReturnValue:
        parameters = query_parameters()
        payload = json_body(queue.settings.max_payload_bytes)
        task = queue.submit(_task_type(parameters, queue), payload, queue=parameters.get("queue"))
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    @blueprint.get("/tasks/<task_id>")
    def get(task_id: str) -> ResponseReturnValue:
        return jsonify(task_json(queue.get(task_id)))

    return blueprint


def _task_type(parameters: dict[str, str], queue: TaskQueue) -> str:
    if "task_type" not in parameters:
        detail = "Say what to run: POST /tasks?task_type=NAME. GET /task-types describes each."
        known = sorted(queue.job_types)
        raise BadRequest(422, "no-task-type", "The query parameter task_type is missing", detail, known=known)
    return parameters["task_type"]


def query_parameters() -> dict[str, str]:
    """The query's parameters. A misspelt one is an error: it would be silently without effect."""
    for name in request.args:
        if name not in PARAMETERS:
            raise BadRequest(
                400,
                "unknown-parameter",
                "There is no such query parameter",
                f"{name!r} is none of {', '.join(PARAMETERS)}.",
            )
    return request.args.to_dict()


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


def task_json(task: Task) -> Json:
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
        "error": task.error and _error_json(task.error),
        "errors": [_error_json(error) for error in task.errors],
        "worker": task.worker,
    }


def _error_json(error: AttemptError) -> Json:
    return {
        "type": error.type,
        "message": error.message,
        "at": timestamp(error.at),
        "worker": error.worker,
        "traceback": error.traceback,
    }
