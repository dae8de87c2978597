"""`/task-types`: the task types that can be posted, with their schemas."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.errors import UnknownJobType
from taskqueue.jobtypes.registry import JobType, JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.problems import BadRequest


class TaskTypeJson(TypedDict):
    """A task type. Times are in seconds; the schemas are JSON Schema 2020-12."""

    name: str
    description: str
    queue: str
    attempts: int
    timeout: int
    concurrency: int | None
    rate: str | None
    payload_schema: dict[str, Json]
    result_schema: dict[str, Json] | None


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
        known = sorted(filter(caller_sees, job_types))
        if name not in known:
            title = "There is no such task type"
            raise BadRequest(404, "unknown-task-type", title, str(UnknownJobType(name, known)), known=known)
        return jsonify(task_type_json(job_types[name]))

    return blueprint


def task_type_json(job_type: JobType) -> TaskTypeJson:
    """Return a job type as clients see it."""
    return {
        "name": job_type.name,
        "description": job_type.description,
        "queue": job_type.queue,
        "attempts": job_type.attempts,
        "timeout": job_type.timeout,
        "concurrency": job_type.limits.concurrency,
        "rate": job_type.limits.rate,
        "payload_schema": job_type.signature.schema,
        "result_schema": job_type.signature.result_schema,
    }
