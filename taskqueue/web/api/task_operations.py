"""`/tasks/<id>/…`: cancel a task, send it again, delete it."""

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue

from taskqueue.control.operations import Operations
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.endpoint import operation

PROBLEMS = (404, 409, 503)


def views(queue: TaskQueue, operations: Operations) -> Blueprint:
    """The views that change one task."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.post("/tasks/<task_id>/cancel")
    @operation("Cancel a task", scope="operate", answers={200: TaskJson, 202: TaskJson}, problems=PROBLEMS)
    def cancel(task_id: str) -> ResponseReturnValue:
        """One that waits is canceled at once (200). One that runs is stopped within a second (202)."""
        outcome = operations.cancel(task_id)
        return jsonify(task_json(queue.get(task_id))), 200 if outcome == "canceled" else 202

    @blueprint.post("/tasks/<task_id>/requeue")
    @operation("Send a task again", scope="operate", answers={202: TaskJson}, problems=PROBLEMS)
    def requeue(task_id: str) -> ResponseReturnValue:
        """One that has failed or was canceled, with all its attempts."""
        operations.requeue(task_id)
        headers = {"Location": url_for("tasks.get", task_id=task_id)}
        return jsonify(task_json(queue.get(task_id))), 202, headers

    @blueprint.delete("/tasks/<task_id>")
    @operation("Delete a task", scope="operate", answers={204: None}, problems=PROBLEMS)
    def delete(task_id: str) -> ResponseReturnValue:
        """Its payload, its result, its errors and its log. One that runs must be canceled first."""
        operations.delete(task_id)
        return "", 204

    return blueprint
