"""Cancels, requeues and deletes single tasks. Each action is one script, so no worker can act in between."""

from datetime import UTC, datetime
from typing import Literal, cast

from redis import Redis
from rq.job import Job, JobStatus, validate_job_id
from rq.rate_limit import RateLimitRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from taskqueue.errors import UnknownTask, WrongStatus
from taskqueue.store import scripts
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import QUEUES, STATUSES, job_key

RUNNING = "A running task cannot be deleted: its worker would write it again. Cancel it first."


class Operations:
    """Changes single tasks. Each method raises `UnknownTask`, `WrongStatus`, `QueueUnavailable`."""

    def __init__(self, connection: Redis, failure_ttl_seconds: int) -> None:
        self._connection = connection
        self._failure_ttl_seconds = failure_ttl_seconds
        self._cancel = scripts.register(connection, "callback", "cancel")
        self._requeue = scripts.register(connection, "requeue")
        self._delete = scripts.register(connection, "delete")

    def cancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        """Cancel a task that has not ended.

        A waiting task is canceled at once. A running task is "stopping": its worker stops it within a second. As
        in RQ, tasks that depend on it stay deferred, until it is requeued and completes.
        """
        key = _key(task_id)
        with redis_errors():
            answer = self._cancel([key], [task_id, _now(), self._failure_ttl_seconds])
            outcome, status, limit = map(bytes.decode, cast("list[bytes]", answer))
            self._release(limit, task_id)
        match outcome:
            case "canceled" | "stopping":
                return outcome
            case "refused":
                raise WrongStatus(task_id, _task_status(status), "Only a task that has not ended can be canceled.")
        raise UnknownTask(task_id)

    def requeue(self, task_id: str) -> None:
        """Queue a failed or canceled task again, with all its attempts."""
        key = _key(task_id)
        with redis_errors():
            answer = self._requeue([key, QUEUES], [task_id, _now()])
            outcome, status = map(bytes.decode, cast("list[bytes]", answer))
            if outcome == "limited" and status == JobStatus.FAILED:
                Job.fetch(task_id, self._connection, JSONSerializer).requeue()
                return
        match outcome:
            case "queued" | "deferred":
                return
            case "refused" | "limited":
                raise WrongStatus(task_id, _task_status(status), "Only a failed or canceled task can be requeued.")
        raise UnknownTask(task_id)

    def delete(self, task_id: str) -> None:
        """Delete all data of a task that does not run. As in RQ, tasks that wait for it will never run."""
        key = _key(task_id)
        with redis_errors():
            answer = self._delete([key, QUEUES], [task_id])
            outcome, limit = map(bytes.decode, cast("list[bytes]", answer))
            self._release(limit, task_id)
        if outcome == "running":
            raise WrongStatus(task_id, STATUSES[JobStatus.STARTED], RUNNING)
        if outcome == "unknown":
            raise UnknownTask(task_id)

    def _release(self, limit: str, task_id: str) -> None:
        """Let the next task begin in place of one that one of RQ's own limits counts."""
        if limit:
            RateLimitRegistry(limit, self._connection).cancel(task_id)


def _now() -> str:
    return utcformat(datetime.now(UTC))


def _key(task_id: str) -> str:
    """Return the key of the task's job. Raises `UnknownTask` for a text that cannot be an id."""
    try:
        validate_job_id(task_id)
    except ValueError:
        raise UnknownTask(task_id) from None
    return job_key(task_id)


def _task_status(status: str) -> str:
    """Return the task's status for RQ's status of a job; an unknown status is returned unchanged."""
    statuses = {rq_status.value: task_status for rq_status, task_status in STATUSES.items()}
    return statuses.get(status, status)
