"""`/tasks/<id>`: ask how a task went."""

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic_core import from_json

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.signature import Json
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.endpoint import operation
from taskqueue.web.http.problems import BadRequest


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
