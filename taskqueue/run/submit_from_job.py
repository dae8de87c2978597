"""How a job has another one queued: `submit("email", {"to": "ada@example.com", …})`."""

import json
from typing import Any

from taskqueue.errors import InvalidPayload, OutsideOfJob, PayloadError
from taskqueue.jobtypes.registry import registered
from taskqueue.jobtypes.signature import Json
from taskqueue.run.context import current_task
from taskqueue.settings import process_settings


def submit(task_type: str, payload: Json, **options: Any) -> str:
    """Queue a task as `POST /tasks` does, in the trace of the job that runs; its id.

    `options` are those of `POST /tasks`: `submit("email", payload, delay=60, tags=["welcome"])`.

    Raises `OutsideOfJob`; `UnknownJobType`, `UnknownQueue`, `InvalidPayload`, `UnknownParent`;
    `pydantic.ValidationError` for a wrong option; `QueueUnavailable` if Redis did not acknowledge it.
    """
    # Not at the top: whoever imports `taskqueue` for its `@job` would pay a quarter more time for these two.
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
    """The payload as it would have come over HTTP."""
    try:
        text = json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(task_type, [PayloadError("", str(error))]) from None
    if len(text) > limit:
        what = f"It is larger than {limit:,} bytes (MAX_PAYLOAD_BYTES); keep it as a file, and hand on its name"
        raise InvalidPayload(task_type, [PayloadError("", what)])
    return json.loads(text)
