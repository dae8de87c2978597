"""Tells a task's callback_url how the task has ended: a job of its own, which engine/turn.lua queues with the end.

The URL is the client's: public addresses only (OUTBOUND_ALLOW), no redirects, a bounded time; no answer is read.
"""

import json
import logging
import os
import time
from functools import cache
from typing import Any, cast

from typing_extensions import TypedDict

from taskqueue.enqueue.job_fields import CALLBACK_TYPE
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import PermanentFailure, UnknownTask
from taskqueue.jobtypes.registry import job, registered
from taskqueue.run import outbound
from taskqueue.run.builtin._signing import Signing
from taskqueue.run.context import current_task
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.keys import ENDED, Field, job_key
from taskqueue.tasks.task_json import task_json
from taskqueue.telemetry.trace import current_trace

log = logging.getLogger(__name__)

GONE = 410  # Standard Webhooks: who answers this wants no more of them


class Delivered(TypedDict):
    """The receiver's answer."""

    status: int


# Fifteen attempts: after 5 seconds, 10, 20 … and every 8 hours in the end, over most of a day.
@job(CALLBACK_TYPE, attempts=15, timeout=30, retry_delay=5, max_retry_delay=8 * 3600, settings=Signing.read)
def deliver(task_id: str) -> Delivered:
    """POST the task's JSON to its callback_url; anything but a 2xx is tried again, over most of a day."""
    this = current_task()
    connection = this.connection if this else connect_for_requests(process_settings().redis_url)
    url = cast("bytes | None", connection.hget(job_key(task_id), Field.CALLBACK_URL))
    body = json.dumps(_message(TaskQueue(connection, process_settings(), registered), task_id)).encode()
    trace = current_trace.get()
    headers = {"Content-Type": "application/json"}
    if trace and trace.traceparent:
        headers["traceparent"] = trace.traceparent
    signing = Signing.read(os.environ)
    if not signing.keys:
        _warn_unsigned()
    headers |= signing.headers(this.id if this else task_id, int(time.time()), body)
    status = outbound.post(
        url.decode() if url else "",
        body,
        settings=outbound.OutboundSettings.read(os.environ),
        headers=headers,
    )
    if status == GONE:
        raise PermanentFailure("The receiver wants no callbacks any more (410).")
    if not 200 <= status < 300:
        raise ConnectionError(f"The receiver answered {status}.")
    return {"status": status}


@cache  # once in a process; whoever asks for no callbacks never reads it
def _warn_unsigned() -> None:
    log.warning("Callbacks go out unsigned, and nobody can tell that they are ours: CALLBACK_SIGNING is not set")


def _message(queue: TaskQueue, task_id: str) -> dict[str, Any]:
    """The body: the task, without its tracebacks, which say more of us than a receiver needs."""
    try:
        task = queue.get(task_id)
    except UnknownTask as error:
        raise PermanentFailure(f"{error} Nothing can be told of it.") from error
    if task.status not in ENDED:
        raise PermanentFailure("The task was sent again meanwhile: its next end has a callback of its own.")
    told: Any = task_json(task)
    for attempt in (told["error"], *told["errors"]):
        if attempt:
            del attempt["traceback"]
    del told["callbacks"]
    return {"type": f"task.{task.status}", "timestamp": told["ended_at"], "data": told}
