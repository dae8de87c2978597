"""What a job can use while it runs: its task's id, its progress, its files.

The same calls work outside a worker, in a test or a shell: there `current_task()` is None, progress goes nowhere,
and `files()` uses the settings of the environment.
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
from taskqueue.tasks.running import running_job, running_type
from taskqueue.telemetry.log import about

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_SECONDS = 0.1  # a loop with a million steps must not write to Redis a million times
MAX_MESSAGE_CHARACTERS = 500


class CurrentTask(NamedTuple):
    """The task that the calling code runs for."""

    id: str  # as in `GET /tasks/<id>`; the same in each attempt
    connection: Redis  # the worker's own, for what the job itself keeps in Redis


def current_task() -> CurrentTask | None:
    """Return the task that the calling code runs for: its `id` and a `connection` to Redis; None outside a worker.

    The id is the same in each attempt. Use it to make a job safe to run twice, for example as the idempotency key
    of a payment, or as `files().write(…, key=task.id)`. The call works in threads that the job has started, too.
    """
    job = running_job()
    return CurrentTask(job.id, job.connection) if job else None


class Progress(NamedTuple):
    """How far a job is, as it reported."""

    done: float
    total: float | None
    message: str
    at: float  # seconds since 1970

    def text(self) -> str:
        """Return the JSON that Redis keeps."""
        message = self.message[:MAX_MESSAGE_CHARACTERS].encode(errors="replace").decode()
        at = timestamp(datetime.fromtimestamp(self.at, UTC))
        return json.dumps({"done": self.done, "total": self.total, "message": message, "at": at})


class _Horse:
    """Holds what writes progress to Redis in a work-horse; None in other processes."""

    send: Callable[[str, Progress], None] | None = None


_last_written: tuple[str, float] = ("", 0.0)  # the task whose progress was last written here, and when


def send_progress_by(send: Callable[[str, Progress], None] | None) -> None:
    """Set what writes progress to Redis in this work-horse, so that the job need not wait for it."""
    _Horse.send = send


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Report how far the current task is: `progress(3, 10, "resizing")`. `GET /tasks/<id>` shows it.

    done: How much is done, in any unit.
    total: How much there is to do, in the same unit; None if that is not known.
    message: A text for people, of which the first 500 characters are kept.

    Call it as often as you like: it does not wait for Redis. The latest report is stored within about 0.1 seconds,
    and the last one stays when the task ends. Outside a worker the call only checks its arguments.

    In a child process of a job, and in a stock RQ worker, only one report in 0.1 seconds is stored; the last one
    (`done` equal to `total`) always is.

    Raises TypeError for arguments of a wrong type; ValueError unless `done` and `total` are finite and >= 0.
    """
    _check("done", done)
    if total is not None:
        _check("total", total)
    if not isinstance(message, str):
        raise TypeError(f"progress(): message must be a string, got {type(message).__name__}; write str(…)")
    job = running_job()
    if job is None:
        return
    report = Progress(done, total, message, time.time())
    if _Horse.send:
        _Horse.send(job.id, report)
    else:
        _write_at_intervals(job, report)


def write_progress(connection: Redis, task_id: str, report: Progress) -> None:
    """Store a task's progress, in one round trip. Raises the driver's errors."""
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.hset(job_key(task_id), Field.PROGRESS, report.text())
        publish_change(pipeline, task_id, "progress")
        pipeline.execute()


def _check(name: str, number: float) -> None:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(
            f"progress(): {name} must be a number, got {type(number).__name__}; write int(…) or float(…)"
        )
    if not 0 <= number <= sys.float_info.max:
        raise ValueError(f"progress(): {name} must be a finite number from 0 on, as in progress(3, 10)")


def _write_at_intervals(job: Job, report: Progress) -> None:
    global _last_written
    task_id, written_at = _last_written
    clock = time.monotonic()
    if task_id == job.id and clock - written_at < PROGRESS_INTERVAL_SECONDS and report.done != report.total:
        return
    _last_written = (job.id, clock)
    try:
        write_progress(_impatient(job.connection), job.id, report)
    except RedisError as error:  # the job matters more than its progress
        log.debug("Cannot store the progress of task %s: %s", job.id, error, extra=about(job.id))


@lru_cache(maxsize=1)
def _impatient(connection: Redis) -> Redis:
    return connect_for_probes(connection)


def files() -> FileStore:
    """Return the file store: the files of `POST /files`, and those that jobs make.

        _, content = files().read(filename)
        stored = files().write(content, "photo.jpg", key=task_id)

    `read` raises `UnknownFile` for a file that does not exist or has expired; `write` raises `FileTooLarge`. Both
    return the file with its `filename`, its `name` as the sender or the job called it, `size` in bytes,
    `content_type` and `expires_at`; `GET /files/<filename>` serves it. Nobody can guess a filename: return it as
    the task's result. With a `key`, a job that runs twice overwrites its file instead of leaving two.
    """
    task = current_task()
    settings = process_settings()
    return open_files(settings, task.connection if task else _own_connection(settings.redis_url), running_type())


@cache
def _own_connection(url: str) -> Redis:
    return connect_for_requests(url)
