"""A task as JSON: the answer of `GET /tasks/<id>` and the data of a callback."""

from typing_extensions import TypedDict

from taskqueue.jobtypes.signature import Json
from taskqueue.store.keys import Status
from taskqueue.store.times import timestamp
from taskqueue.tasks.runs import RunJson
from taskqueue.tasks.task import AttemptError, ProgressJson, Task


class ErrorJson(TypedDict):
    """The error of a failed attempt."""

    type: str
    message: str
    at: str | None
    worker: str | None
    traceback: str


class CallbackJson(TypedDict):
    """A call of a task's callback_url. It is a task of its own, with this id."""

    id: str
    status: Status
    attempt: int
    attempts: int
    error: str | None
    scheduled_for: str | None
    ended_at: str | None


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
    sent_by: str | None
    runs: list[RunJson]
    callbacks: list[CallbackJson]


def task_json(task: Task) -> TaskJson:
    """Return a task as clients see it.

    It is written by hand, not made from the dataclass: `POST /tasks` would take 30 % more time for its answer.
    """
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
        "sent_by": task.sent_by,
        "runs": [run.json() for run in task.runs],
        "callbacks": [_callback_json(callback) for callback in task.callbacks],
    }


def _error_json(error: AttemptError) -> ErrorJson:
    return {
        "type": error.type,
        "message": error.message,
        "at": timestamp(error.at),
        "worker": error.worker,
        "traceback": error.traceback,
    }


def _callback_json(callback: Task) -> CallbackJson:
    return {
        "id": callback.id,
        "status": callback.status,
        "attempt": callback.attempt,
        "attempts": callback.attempts,
        "error": callback.error.message if callback.error else None,
        "scheduled_for": timestamp(callback.scheduled_for),
        "ended_at": timestamp(callback.ended_at),
    }
