"""A job type as clients see it, who call it a task type."""

from typing_extensions import TypedDict

from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json


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
