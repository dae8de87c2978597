"""What a job knows while it runs: its id, its attempt, its files; and how it tells its progress.

Outside a worker (a test, a shell) the same calls work: there is no task then, progress goes nowhere, and
files are those of the environment's settings.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job

from taskqueue.run.files import FileStore, open_files
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_probes, connect_for_requests
from taskqueue.store.keys import Field, job_key
from taskqueue.store.times import timestamp
from taskqueue.tasks.changes import publish_change
from taskqueue.tasks.running import running_job
from taskqueue.telemetry.log import about

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_SECONDS = 0.1  # a loop of a million steps must not write to Redis a million times
MAX_MESSAGE_CHARACTERS = 500


class CurrentTask(NamedTuple):
    """The task that this code runs for."""

    id: str
    connection: Redis


def current_task() -> CurrentTask | None:
    """The task that this code runs for; None outside a worker."""
    job = running_job()
    return CurrentTask(job.id, job.connection) if job else None


class Progress(NamedTuple):
    """What a job told of itself."""

    done: float
    total: float | None
    message: str
    at: float  # seconds since 1970

    def text(self) -> str:
        """As it is kept: JSON."""
        message = self.message[:MAX_MESSAGE_CHARACTERS].encode(errors="replace").decode()
        at = timestamp(datetime.fromtimestamp(self.at, UTC))
        return json.dumps({"done": self.done, "total": self.total, "message": message, "at": at})


class _Horse:
    """Who writes progress to Redis in a work-horse; elsewhere nobody."""

    sends: Callable[[str, Progress], None] | None = None


_last_written: tuple[str, float] = ("", 0.0)  # the task whose progress was last written here, and when


def send_progress_by(sends: Callable[[str, Progress], None] | None) -> None:
    """For a work-horse: who writes progress to Redis, so that the job need not wait for it."""
    _Horse.sends = sends


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Tell how far the current task is: `progress(3, 10, "resizing")`. It is seen in `GET /tasks/<id>`.

    Call it as often as you like: it waits for nothing, and the latest call is written within about
    PROGRESS_INTERVAL_SECONDS. What was told last stays when the task ends. Of the message MAX_MESSAGE_CHARACTERS
    are kept. Raises TypeError and ValueError for what is no finite number from 0 on.

    A stock RQ worker, and a child process of a job, write at most one call in that time, and the last one
    (`done` equal to `total`) always.
    """
    _check("done", done)
    if total is not None:
        _check("total", total)
    if not isinstance(message, str):
        raise TypeError(f"progress(): message must be a string, got {type(message).__name__}; write str(…)")
    job = running_job()
    if job is None:
        return
    told = Progress(done, total, message, time.time())
    if _Horse.sends:
        _Horse.sends(job.id, told)
    else:
        _write_now_and_then(job, told)


def write_progress(connection: Redis, task_id: str, told: Progress) -> None:
    """Keep a task's progress, in one round trip."""
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.hset(job_key(task_id), Field.PROGRESS, told.text())
        publish_change(pipeline, task_id, "progress")
        pipeline.execute()


def _check(name: str, number: float) -> None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(
            f"progress(): {name} must be a number, got {type(number).__name__}; write int(…) or float(…)"
        )
    if not 0 <= number <= sys.float_info.max:
        raise ValueError(f"progress(): {name} must be a finite number from 0 on, as in progress(3, 10)")


def _write_now_and_then(job: Job, told: Progress) -> None:
    global _last_written
    task_id, written_at = _last_written
    clock = time.monotonic()
    if task_id == job.id and clock - written_at < PROGRESS_INTERVAL_SECONDS and told.done != told.total:
        return
    _last_written = (job.id, clock)
    try:
        write_progress(_hasty(job.connection), job.id, told)
    except RedisError as error:  # the job is worth more than how far it is
        log.debug("Progress of task %s is not written: %s", job.id, error, extra=about(job.id))


@lru_cache(maxsize=1)
def _hasty(connection: Redis) -> Redis:
    return connect_for_probes(connection)


def files() -> FileStore:
    """The file store: what `POST /files` took, and what jobs make."""
    task = current_task()
    settings = process_settings()
    return open_files(settings, task.connection if task else _own_connection(settings.redis_url))


@cache
def _own_connection(url: str) -> Redis:
    return connect_for_requests(url)
