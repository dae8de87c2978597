"""`/tasks/<id>`: show a task, cancel it, requeue it, delete it."""

from contextlib import suppress

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from werkzeug.routing import BaseConverter

from taskqueue.control.operations import Operations
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import TaskQueueError
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.change_record import note_task_type
from taskqueue.web.http.endpoint import endpoint

PROBLEMS = (404, 409, 503)


class TaskId(BaseConverter):
    """A task's id in an address. `bulk` is none: `/tasks/bulk` has methods of its own."""

    regex = "(?!bulk$)[^/]+"


def views(queue: TaskQueue) -> Blueprint:
    """Return the view that shows a task."""
    blueprint = Blueprint("tasks", __name__)

    @blueprint.get("/tasks/<task:task_id>")
    @endpoint("Get a task", scope="read", answers={200: TaskJson}, problems=(404, 503))
    def get(task_id: str) -> ResponseReturnValue:
        """The answer has the task's status, progress, result and errors."""
        return jsonify(task_json(queue.get(task_id)))

    return blueprint


def operation_views(queue: TaskQueue, operations: Operations) -> Blueprint:
    """Return the views that change a task."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.post("/tasks/<task_id>/cancel")
    @endpoint(
        "Cancel a task",
        scope="operate",
        change="task-canceled",
        answers={200: TaskJson, 202: TaskJson},
        problems=PROBLEMS,
    )
    def cancel(task_id: str) -> ResponseReturnValue:
        """A task that waits is canceled at once (200). A task that runs is stopped within a second (202)."""
        outcome = operations.cancel(task_id)
        task = queue.get(task_id)
        note_task_type(task.type)
        return jsonify(task_json(task)), 200 if outcome == "canceled" else 202

    @blueprint.post("/tasks/<task_id>/requeue")
    @endpoint(
        "Requeue a task", scope="operate", change="task-requeued", answers={202: TaskJson}, problems=PROBLEMS
    )
    def requeue(task_id: str) -> ResponseReturnValue:
        """Queue a failed or canceled task again, with all its attempts."""
        operations.requeue(task_id)
        headers = {"Location": url_for("tasks.get", task_id=task_id)}
        task = queue.get(task_id)
        note_task_type(task.type)
        return jsonify(task_json(task)), 202, headers

    @blueprint.delete("/tasks/<task:task_id>")
    @endpoint("Delete a task", scope="operate", change="task-deleted", answers={204: None}, problems=PROBLEMS)
    def delete(task_id: str) -> ResponseReturnValue:
        """Delete its payload, result, errors and log. A task that runs must be canceled first."""
        with suppress(TaskQueueError):  # one that cannot be read can be deleted, too
            note_task_type(queue.get(task_id).type)
        operations.delete(task_id)
        return "", 204

    return blueprint
