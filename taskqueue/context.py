"""What a job knows while it runs: its id, its attempt, its files; and how it tells its progress.

Outside a worker (a test, a shell) the same calls work: there is no task then, progress goes nowhere, and
files are those of the environment's settings.
"""

import json
import time
from functools import cache
from typing import NamedTuple

from redis import Redis
from rq import get_current_job
from rq.utils import now

from taskqueue import fields
from taskqueue.connection import connect_for_requests
from taskqueue.files import FileStore, open_files
from taskqueue.hints import hint
from taskqueue.settings import process_settings
from taskqueue.task import timestamp

PROGRESS_INTERVAL_SECONDS = 0.1  # a loop of a million steps must not write to Redis a million times

_last_progress: tuple[str, float] = ("", 0.0)  # the task that last told its progress, and when


class CurrentTask(NamedTuple):
    """The task that this code runs for."""

    id: str
    connection: Redis


def current_task() -> CurrentTask | None:
    """The task that this code runs for; None outside a worker."""
    job = get_current_job()
    return CurrentTask(job.id, job.connection) if job else None


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Tell how far the current task is: `progress(3, 10, "resizing")`. It is seen in `GET /tasks/<id>`.

    Call it as often as you like: at most one call in PROGRESS_INTERVAL_SECONDS is written, and the last
    one (`done` equal to `total`) always. What is written last stays when the task ends.
    """
    global _last_progress
    job = get_current_job()
    if job is None:
        return
    task_id, told_at = _last_progress
    clock = time.monotonic()
    if task_id == job.id and clock - told_at < PROGRESS_INTERVAL_SECONDS and done != total:
        return
    _last_progress = (job.id, clock)
    told = {"done": done, "total": total, "message": message, "at": timestamp(now())}
    with job.connection.pipeline(transaction=False) as pipeline:
        pipeline.hset(job.key, fields.PROGRESS, json.dumps(told))
        hint(pipeline, job.id, "progress")
        pipeline.execute()


def files() -> FileStore:
    """The file store: what `POST /files` took, and what jobs make."""
    task = current_task()
    settings = process_settings()
    return open_files(settings, task.connection if task else _own_connection(settings.redis_url))


@cache
def _own_connection(url: str) -> Redis:
    return connect_for_requests(url)
