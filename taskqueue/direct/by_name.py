"""Submits a task by the name of its type, where the function itself is not imported: `submit("email", {…})`."""

import json
from functools import cache
from typing import Any

from typing_extensions import Unpack

from taskqueue.direct.by_redis import current
from taskqueue.direct.handle import TaskHandle
from taskqueue.direct.options import TaskOptions, read_options
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.errors import InvalidPayload, InvalidSetting, PayloadError
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.json_text import encode
from taskqueue.jobtypes.registry import JobType, registered
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings, process_settings

_decode = json.JSONDecoder().raw_decode  # takes less time than json.loads, which also looks for spaces


def submit(task_type: str, payload: Json, **options: Unpack[TaskOptions]) -> str:
    """Queue a task by the name of its type, as `POST /tasks` does, and return the task's id.

        submit("email", {"to": "ada@example.com", "subject": "Welcome"}, delay=60, tags=["welcome"])

    task_type: The name of a job type, as given to `@job`.
    payload: Its fields, as JSON values; at most MAX_PAYLOAD_BYTES.
    options: Those of `POST /tasks`: queue, priority, attempts, timeout, expires_in, tags, callback_url, delay, at,
        depends_on, allow_failure, dedupe.

    Where the function can be imported, `send_email.submit(to=…)` does the same, and type checkers know its
    arguments. In a job, the new task has the request id and the trace of the current one. A job may run twice,
    and would then queue two tasks; with a `dedupe` key the second call returns the first task, while that one
    waits or runs.

    Raises `UnknownJobType`, `UnknownQueue`, `InvalidPayload`, `InvalidOptions`, `UnknownParent`, and then nothing
    is queued; `QueueUnavailable` if Redis did not acknowledge the task.
    """
    job_type = registered.get(task_type) or find(task_type)
    values, text = json_values(task_type, payload)
    return current().submit(job_type, values, _read(options), text).id


async def asubmit(task_type: str, payload: Json, **options: Unpack[TaskOptions]) -> str:
    """Queue a task by the name of its type, as `submit` does, without blocking the event loop."""
    job_type = find(task_type)
    values, text = json_values(task_type, payload)
    return (await current().asubmit(job_type, values, _read(options), text)).id


def handle(task_id: str) -> TaskHandle[Any]:
    """Return the handle of a task that was submitted earlier; its result is JSON. It does not ask Redis.

    `send_email.handle(id)` returns a handle that knows the type of the result.
    """
    return current().handle(task_id, None)


def find(task_type: str) -> JobType:
    """Return the job type of this name. Raises `UnknownJobType`, `InvalidJobType`."""
    discover_if_unknown(task_type)
    return registered.find(task_type)


def discover_if_unknown(task_type: str) -> None:
    """Import the job types of JOBS if no import has registered this one. Raises `InvalidJobType`."""
    if task_type not in registered:
        _discover_once()


@cache
def _discover_once() -> None:
    try:
        discover()
    except InvalidSetting:
        if process_settings().jobs != Settings.jobs:  # without JOBS, the application imports its job types itself
            raise


def _read(options: TaskOptions) -> SubmitOptions | None:
    """Return validated options; None: there are none. Raises `InvalidOptions`."""
    return read_options(SubmitOptions, options) if options else None


def json_values(task_type: str, payload: Any) -> tuple[Json, str]:
    """Return the payload as it would arrive over HTTP, and its text. Raises `InvalidPayload`."""
    try:
        text = encode(payload)
        return _decode(text)[0], text
    except (TypeError, ValueError) as error:
        message = str(error)
    except RecursionError:
        message = "It contains itself, or is nested too deeply"
    raise InvalidPayload(task_type, [PayloadError("", message)])
