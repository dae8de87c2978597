"""`/task-types`: the task types that can be posted, with their schemas."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.tasks.task_type_json import TaskTypeJson, task_type_json
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.problems import BadRequest


class TaskTypesJson(TypedDict):
    """All task types, by name."""

    task_types: list[TaskTypeJson]


def views(job_types: JobTypes) -> Blueprint:
    """Return the views of `/task-types`."""
    blueprint = Blueprint("task_types", __name__)

    @blueprint.get("/task-types")
    @endpoint("List the task types", scope="read", answers={200: TaskTypesJson}, by_type=True)
    def all_types() -> ResponseReturnValue:
        return jsonify(
            {"task_types": [task_type_json(job_types[name]) for name in sorted(job_types) if caller_sees(name)]}
        )

    @blueprint.get("/task-types/<name>")
    @endpoint("Get a task type", scope="read", answers={200: TaskTypeJson}, problems=(404,), by_type=True)
    def one_type(name: str) -> ResponseReturnValue:
        check_known(name, job_types)
        return jsonify(task_type_json(job_types[name]))

    return blueprint


def check_known(name: str, job_types: JobTypes) -> None:
    """Raise `BadRequest` (404) unless there is a task type of this name that the caller sees."""
    known = sorted(filter(caller_sees, job_types))
    if name not in known:
        title = "There is no such task type"
        raise BadRequest(404, "unknown-task-type", title, str(UnknownJobType(name, known)), known=known)
