"""What an operator does to a task: cancel it, send it again, delete it. Each is one script: a worker waits."""

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

RUNS = "What runs is not deleted: its worker would write it again. Cancel it first."


class Operations:
    """Changes of single tasks. Each raises `UnknownTask`, `WrongStatus`, `QueueUnavailable`."""

    def __init__(self, connection: Redis, failure_ttl_seconds: int) -> None:
        self._connection = connection
        self._failure_ttl_seconds = failure_ttl_seconds
        self._cancel = scripts.register(connection, "callback", "cancel")
        self._requeue = scripts.register(connection, "requeue")
        self._delete = scripts.register(connection, "delete")

    def cancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        """Cancel a task that has not ended.

        One that waits is canceled at once; of one that runs its worker is told, and stops it within a second. What
        depends on it stays deferred, as RQ has it, until it is sent again and completes.
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
                raise WrongStatus(task_id, _word(status), "Only a task that has not ended can be canceled.")
        raise UnknownTask(task_id)

    def requeue(self, task_id: str) -> None:
        """Send a task again that has failed or was canceled, with all its attempts."""
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
                raise WrongStatus(task_id, _word(status), "Only a failed or canceled task can be sent again.")
        raise UnknownTask(task_id)

    def delete(self, task_id: str) -> None:
        """Remove all that is kept of a task. What depends on it and is deferred will never run, as RQ has it."""
        key = _key(task_id)
        with redis_errors():
            answer = self._delete([key, QUEUES], [task_id])
            outcome, limit = map(bytes.decode, cast("list[bytes]", answer))
            self._release(limit, task_id)
        if outcome == "running":
            raise WrongStatus(task_id, STATUSES[JobStatus.STARTED], RUNS)
        if outcome == "unknown":
            raise UnknownTask(task_id)

    def _release(self, limit: str, task_id: str) -> None:
        """Give the place of a task under one of RQ's own limits to the next."""
        if limit:
            RateLimitRegistry(limit, self._connection).cancel(task_id)


def _now() -> str:
    return utcformat(datetime.now(UTC))


def _key(task_id: str) -> str:
    """Where RQ keeps the job."""
    try:
        validate_job_id(task_id)
    except ValueError:
        raise UnknownTask(task_id) from None
    return job_key(task_id)


def _word(status: str) -> str:
    """RQ's status in the words of the HTTP contract; as it is where RQ does not know it."""
    known = {found.value: word for found, word in STATUSES.items()}
    return known.get(status, status)
