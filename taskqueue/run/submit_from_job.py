"""Lets a job queue another task: `submit("email", {"to": "ada@example.com", …})`."""

import json
from typing import Any

from taskqueue.errors import InvalidPayload, OutsideOfJob, PayloadError
from taskqueue.jobtypes.registry import registered
from taskqueue.jobtypes.signature import Json
from taskqueue.run.context import current_task
from taskqueue.settings import process_settings


def submit(task_type: str, payload: Json, **options: Any) -> str:
    """Queue a task from inside a job, as `POST /tasks` does, and return the task's id.

        submit("email", {"to": "ada@example.com", "subject": "Welcome"}, delay=60, tags=["welcome"])

    task_type: The name of a job type, as given to `@job`.
    payload: Its fields, as JSON values; at most MAX_PAYLOAD_BYTES.
    options: Those of `POST /tasks`: queue, priority, attempts, timeout, expires_in, tags, callback_url, delay, at,
        depends_on, allow_failure, dedupe.

    The new task has the request id and the trace of the current one. A job may run twice, and would then queue two
    tasks; with a `dedupe` key the second call returns the first task, while that one waits or runs.

    Raises `OutsideOfJob` unless a worker runs the calling code; `UnknownJobType`, `UnknownQueue`,
    `InvalidPayload`, `UnknownParent`; `pydantic.ValidationError` for a wrong option; `QueueUnavailable` if Redis
    did not acknowledge the task.
    """
    # Imported here: `import taskqueue`, for `@job` alone, would take a quarter longer with these two.
    from taskqueue.enqueue.options import SubmitOptions
    from taskqueue.enqueue.queue import TaskQueue

    task = current_task()
    if task is None:
        raise OutsideOfJob("submit()")
    settings = process_settings()
    queue = TaskQueue(task.connection, settings, registered)
    checked = _json_values(task_type, payload, settings.max_payload_bytes)
    return queue.submit(task_type, checked, SubmitOptions(**options)).id


def _json_values(task_type: str, payload: Any, limit: int) -> Json:
    """Return the payload as it would arrive over HTTP. Raises `InvalidPayload`."""
    try:
        text = json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(task_type, [PayloadError("", str(error))]) from None
    if len(text) > limit:
        message = f"It is larger than {limit:,} bytes (MAX_PAYLOAD_BYTES); store it as a file, and send its name"
        raise InvalidPayload(task_type, [PayloadError("", message)])
    return json.loads(text)
