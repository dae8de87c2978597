"""Submits a task, and reads one back."""

from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from rq.registry import ScheduledJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.enqueue.submission import Accepted, Submissions
from taskqueue.errors import UnknownTask
from taskqueue.jobtypes.registry import JobType, JobTypes, system
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import Field, log_key, results_key
from taskqueue.store.shared_connection import NotSent, SharedConnection
from taskqueue.store.times import time_at
from taskqueue.store.transaction import packed
from taskqueue.tasks.log_lines import StoredLine, stored_lines
from taskqueue.tasks.shown_job import ShownJob
from taskqueue.tasks.task import Task, read_task
from taskqueue.telemetry.spans import span

MAX_CALLBACKS = 10  # are read; a task that is requeued has one more for each end
MAX_ERRORS = 100  # of a task's failed attempts are read, the latest ones


class TaskQueue:
    """Tasks in Redis, in RQ's own format. One instance serves all threads of a process.

    `is_shared`: calls of its threads that wait at the same time go together (store/shared_connection.py).
    """

    def __init__(
        self,
        connection: Redis,
        settings: Settings,
        job_types: JobTypes,
        *,
        is_shared: bool = False,
    ) -> None:
        self.job_types = job_types
        self.settings = settings
        self._connection = connection
        # Two connections: a large result holds up only those who read.
        self._shared = SharedConnection(connection.connection_pool) if is_shared else None
        submitting = SharedConnection(connection.connection_pool) if is_shared else None
        self.submissions = Submissions(connection, settings, submitting)

    def submit(self, type_name: str, payload: Json, options: SubmitOptions = DEFAULT_OPTIONS) -> Task:
        """Validate a payload, queue its job and return the task. Raises what `accept` raises."""
        return self.accept(type_name, payload, options).task

    def accept(
        self,
        type_name: str,
        payload: Json,
        options: SubmitOptions = DEFAULT_OPTIONS,
        idempotency: IdempotencyKey | None = None,
    ) -> Accepted:
        """Validate a payload and queue its job, in one round trip (two for a duplicate, whose task is read).

        Raises `UnknownJobType`, `UnknownQueue`, `InvalidPayload`, `UnknownParent`, `IdempotencyMismatch`;
        `QueueUnavailable` if Redis did not acknowledge the job.
        """
        return self._accept(self.job_types.find(type_name), payload, options, idempotency)

    def submit_own(self, type_name: str, payload: Json, options: SubmitOptions = DEFAULT_OPTIONS) -> Task:
        """Queue a task of a built-in type (run/builtin), which no client can post. Raises what `accept` raises."""
        return self._accept(system[type_name], payload, options).task

    def _accept(
        self, job_type: JobType, payload: Json, options: SubmitOptions, idempotency: IdempotencyKey | None = None
    ) -> Accepted:
        with self.span(job_type):
            submission = self.submissions.prepare(job_type, payload, options, idempotency=idempotency)
            outcome = self.submissions.submit(submission)
        return replace(outcome, task=self.get(outcome.task.id)) if outcome.outcome == "duplicate" else outcome

    def span(self, job_type: JobType) -> AbstractContextManager[None]:
        """Return the span in which a task is prepared and sent: the task's trace belongs to it."""
        return span(f"enqueue {job_type.name}", "PRODUCER", {"task.type": job_type.name})

    def get(self, task_id: str) -> Task:
        """Return the task of this id, in one round trip (two while it is scheduled).

        Raises `UnknownTask`, `QueueUnavailable`.
        """
        return self._read(task_id, None)[0]

    def get_with_lines(self, task_id: str, after: str) -> tuple[Task, list[StoredLine]]:
        """Return a task and the lines of its log after the line `after`; all of them, if the task has ended.

        Raises `UnknownTask`, `QueueUnavailable`.
        """
        return self._read(task_id, after)

    def _read(self, task_id: str, after: str | None) -> tuple[Task, list[StoredLine]]:
        job = self._job(task_id)
        # Not in a transaction, which a full Redis would refuse. The hash comes first: if it says that the task has
        # ended, the results and the log are complete.
        with redis_errors():
            stored, results, *logs = self._read_redis(job, after)
        if b"data" not in stored:
            raise UnknownTask(task_id)
        job.restore(stored)
        task = read_task(
            job,
            stored,
            [
                Result.restore(job.id, name.decode(), raw, self._connection, JSONSerializer)
                for name, raw in results
            ],
            [raw for _, raw in results],
        )
        if task.status == "scheduled":
            task = replace(task, scheduled_for=self._due(task))
        count = int(stored.get(Field.CALLBACKS.encode(), 0))
        if count:
            task = replace(task, callbacks=self._callbacks(task_id, count))
        return task, stored_lines(logs[0]) if logs else []

    def _read_redis(self, job: ShownJob, after: str | None) -> list[Any]:
        """Return a job's hash, its latest results and, with `after`, its log, as redis-py returns them."""
        if self._shared:
            try:
                return self._read_shared(self._shared, job, after)
            except NotSent as error:
                raise error.__cause__ or error from None
            except RedisConnectionError:
                pass  # Redis has closed the connection: redis-py tries again
        with self._connection.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(job.key)
            pipeline.xrevrange(results_key(job.id), count=MAX_ERRORS)
            if after is not None:
                pipeline.xrange(log_key(job.id), min=f"({after}")
            return pipeline.execute()

    def _read_shared(self, shared: SharedConnection, job: ShownJob, after: str | None) -> list[Any]:
        reading = packed("HGETALL", job.key)
        reading += packed("XREVRANGE", results_key(job.id), "+", "-", "COUNT", MAX_ERRORS)
        if after is not None:
            reading += packed("XRANGE", log_key(job.id), f"({after}", "+")
        answers = shared.ask(reading, 2 if after is None else 3)
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        stored, *streams = answers
        return [_pairs(stored), *[[(entry, _pairs(fields)) for entry, fields in stream] for stream in streams]]

    def _callbacks(self, task_id: str, count: int) -> tuple[Task, ...]:
        """Return the latest callbacks of a task that Redis still has, oldest first."""
        callbacks = []
        for number in range(max(1, count + 1 - MAX_CALLBACKS), count + 1):
            with suppress(UnknownTask):
                callbacks.append(self.get(f"{task_id}-callback-{number}"))
        return tuple(callbacks)

    def _due(self, task: Task) -> datetime | None:
        registry = ScheduledJobRegistry(task.queue, connection=self._connection)
        with redis_errors():
            due = self._connection.zscore(registry.key, task.id)
        return time_at(due)

    def _job(self, task_id: str) -> ShownJob:
        try:
            return ShownJob(task_id, self._connection)
        except ValueError:  # it cannot be an id of RQ
            raise UnknownTask(task_id) from None


def _pairs(answer: list[bytes] | dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the fields of a hash or a stream's entry by name: RESP 2 has names and values in turn."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
