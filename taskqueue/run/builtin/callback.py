"""Calls a task's callback_url when the task has ended: a job of its own, queued by the script that ends the task.

The client chose the URL: only public addresses (or OUTBOUND_ALLOW), no redirects, a time limit; no answer is read.
"""

import json
import logging
import os
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from typing_extensions import TypedDict

from taskqueue.enqueue.job_fields import CALLBACK_TYPE
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import PermanentFailure, RetryLater, UnknownTask
from taskqueue.jobtypes.registry import job, registered
from taskqueue.run import outbound
from taskqueue.run.builtin._signing import Signing
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.keys import ENDED, Field, job_key
from taskqueue.tasks.running import current_task
from taskqueue.tasks.task_json import task_json
from taskqueue.telemetry.trace import current_trace

log = logging.getLogger(__name__)

GONE = 410  # Standard Webhooks: a receiver that answers this wants no more webhooks


class Delivered(TypedDict):
    """The status of the receiver's answer."""

    status: int


# Fifteen attempts: after 5 seconds, 10, 20 … and every 8 hours in the end, over most of a day.
@job(
    CALLBACK_TYPE,
    attempts=15,
    timeout=30,
    retry_delay=5,
    max_retry_delay=8 * 3600,
    io_bound=True,
    settings=Signing.read,
)
def deliver(task_id: str) -> Delivered:
    """POST the task's JSON to its callback_url. Anything but a 2xx leads to another attempt, for most of a day."""
    delivery = current_task()
    connection = delivery.connection if delivery else connect_for_requests(process_settings().redis_url)
    url = cast("bytes | None", connection.hget(job_key(task_id), Field.CALLBACK_URL))
    body = json.dumps(_message(TaskQueue(connection, process_settings(), registered), task_id)).encode()
    trace = current_trace.get()
    headers = {"Content-Type": "application/json"}
    if trace and trace.traceparent:
        headers["traceparent"] = trace.traceparent
    signing = Signing.read(os.environ)
    if not signing.keys:
        _warn_unsigned()
    headers |= signing.headers(delivery.id if delivery else task_id, datetime.now(UTC), body)
    status = outbound.post(
        url.decode() if url else "",
        body,
        settings=outbound.OutboundSettings.read(os.environ),
        headers=headers,
        kind="callback",
    )
    if status == GONE:
        raise PermanentFailure("The receiver wants no more callbacks (410).")
    if not 200 <= status < 300:
        message = f"The receiver answered {status}."
        raise RetryLater(message, seconds=status.retry_after) if status.retry_after else ConnectionError(message)
    return {"status": int(status)}


@cache  # once in each process that sends a callback
def _warn_unsigned() -> None:
    log.warning("Callbacks are sent unsigned, so receivers cannot verify them: CALLBACK_SIGNING is not set")


def _message(queue: TaskQueue, task_id: str) -> dict[str, Any]:
    """Return the body: the task without its tracebacks, which reveal more of this system than a receiver needs."""
    try:
        task = queue.get(task_id)
    except UnknownTask as error:
        raise PermanentFailure(f"{error} Its end cannot be reported.") from error
    if task.status not in ENDED:
        raise PermanentFailure("The task was requeued meanwhile: its next end has a callback of its own.")
    data: Any = task_json(task)
    for attempt_error in (data["error"], *data["errors"]):
        if attempt_error:
            del attempt_error["traceback"]
    del data["callbacks"]
    return {"type": f"task.{task.status}", "timestamp": data["ended_at"], "data": data}
