"""The job that this process runs, for the log and for the job's own code."""

from typing import NamedTuple

from redis import Redis
from rq import get_current_job
from rq.job import Job

from taskqueue.jobtypes.names import job_type_name


class _Horse:
    """Holds the job of a work-horse, which runs one at a time; None in other processes."""

    job: Job | None = None


def set_running_job(job: Job | None) -> None:
    """Set the job that this work-horse runs; None if it runs none."""
    _Horse.job = job


def running_job() -> Job | None:
    """Return the job that runs in this process; None outside a worker.

    In a work-horse this works also in the threads that a job has started, where RQ's own function returns None.
    """
    return get_current_job() or _Horse.job


def running_type() -> str | None:
    """Return the type of the job that runs in this process; None without one, or if its data cannot be read."""
    job = running_job()
    try:
        return job_type_name(job.func_name or "") if job else None
    except Exception:  # noqa: BLE001  another program may have written any data; a log line must not fail for it
        return None


class CurrentTask(NamedTuple):
    """The task that the calling code runs for."""

    id: str  # as in `GET /tasks/<id>`; the same in each attempt
    connection: Redis  # the worker's own, for what the job itself keeps in Redis
    type: str = ""  # the name of the job type


def current_task() -> CurrentTask | None:
    """Return the task that the calling code runs for: its `id` and a `connection` to Redis; None outside a worker.

    The id is the same in each attempt. Use it to make a job safe to run twice, for example as the idempotency key
    of a payment, or as `files().write(…, key=task.id)`. The call works in threads that the job has started, too.
    """
    job = running_job()
    return CurrentTask(job.id, job.connection, running_type() or "") if job else None
