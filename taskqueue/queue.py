"""The queue, as the web application sees it: submit a task, read one, and ask whether Redis can take more."""

import json
import logging
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files as package_files
from uuid import uuid4

from redis import Redis
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from taskqueue import fields
from taskqueue.call import function_name
from taskqueue.connection import redis_errors
from taskqueue.errors import InvalidPayload, PayloadError, UnknownQueue, UnknownTask
from taskqueue.job_types import JobType, JobTypes
from taskqueue.options import ORDINARY, SubmitOptions
from taskqueue.settings import Settings
from taskqueue.signature import Json
from taskqueue.task import Task, read_task

log = logging.getLogger(__name__)

COMPRESSED_FROM_BYTES = 1024  # RQ reads a job's data compressed or plain; a small payload is better plain
INDEX = "tq:index"  # all tasks by the time at which they were created; INDEX:type:<type>, INDEX:tag:<tag> likewise
MAX_ERRORS = 100  # at most this many of a task's failed attempts are read


class TaskQueue:
    """Tasks in Redis, in RQ's own format. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, settings: Settings, job_types: JobTypes) -> None:
        self.job_types = job_types
        self.settings = settings
        self._connection = connection
        script = package_files("taskqueue").joinpath("scripts/enqueue.lua").read_text()
        self._enqueue_script = connection.register_script(script)

    def submit(self, type_name: str, payload: Json, options: SubmitOptions = ORDINARY) -> Task:
        """Validate a payload and queue its job, in one round trip.

        Raises `UnknownJobType`, `UnknownQueue`, `InvalidPayload`; `QueueUnavailable` if Redis did not
        acknowledge it.
        """
        job_type = self.job_types.find(type_name)
        queue_name = self._queue_name(options.queue or job_type.queue)
        job_type.arguments(payload)
        try:
            data = job_data(job_type.name, payload)
        except ValueError:
            raise InvalidPayload(job_type.name, [PayloadError("", "A number in it is too large")]) from None
        task = Task(
            id=str(uuid4()),
            type=job_type.name,
            status="queued",
            queue=queue_name,
            payload=payload,
            created_at=datetime.now(UTC),
            attempts=options.attempts or job_type.attempts,
            tags=options.tags,
        )
        arguments: list[str | bytes | int] = [task.id, int(task.created_at.timestamp() * 1_000_000)]
        for field, value in self._job_hash(task, job_type, options, data).items():
            arguments += (field, value)
        keys = [
            Job.key_for(task.id),
            f"{Queue.redis_queue_namespace_prefix}{queue_name}",
            Queue.redis_queues_keys,
            INDEX,
            f"{INDEX}:type:{task.type}",
            *[f"{INDEX}:tag:{tag}" for tag in task.tags],
        ]
        with redis_errors(task.id):
            self._enqueue_script(keys=keys, args=arguments)
        return task

    def get(self, task_id: str) -> Task:
        """The task of this id, in one round trip (two while it is scheduled).

        Raises `UnknownTask`, `QueueUnavailable`.
        """
        job = self._job(task_id)
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.hgetall(job.key)
            pipeline.xrevrange(Result.get_key(job.id), count=MAX_ERRORS)
            stored, results = pipeline.execute()
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
        )
        return replace(task, scheduled_for=self._due(task)) if task.status == "scheduled" else task

    def _due(self, task: Task) -> datetime | None:
        registry = ScheduledJobRegistry(task.queue, connection=self._connection)
        with redis_errors():
            due = self._connection.zscore(registry.key, task.id)
        return None if due is None else datetime.fromtimestamp(due, UTC)

    def _job(self, task_id: str) -> Job:
        try:
            return Job(task_id, connection=self._connection, serializer=JSONSerializer)
        except ValueError:  # not even the form of an id
            raise UnknownTask(task_id) from None

    def _queue_name(self, name: str) -> str:
        if name not in self.settings.queues:
            raise UnknownQueue(name, self.settings.queues)
        return name

    def _job_hash(
        self, task: Task, job_type: JobType, options: SubmitOptions, data: bytes
    ) -> dict[str, str | bytes | int]:
        """The job's hash as `rq.job.Job.to_dict` writes it, without the fields that RQ may miss."""
        retries = task.attempts - 1
        created = utcformat(task.created_at)
        stored: dict[str, str | bytes | int] = {
            "created_at": created,
            "enqueued_at": created,
            "data": zlib.compress(data) if len(data) >= COMPRESSED_FROM_BYTES else data,
            "origin": task.queue,
            "status": JobStatus.QUEUED.value,
            "description": job_type.name,  # RQ's own default repeats the arguments, in logs and on pages
            "timeout": options.timeout or job_type.timeout,
            "result_ttl": self.settings.result_ttl_seconds,
            "failure_ttl": self.settings.failure_ttl_seconds,
            "retries_left": retries,
            "retry_intervals": json.dumps(job_type.retry_delays.seconds(retries)),
            fields.ATTEMPTS: task.attempts,
        }
        if task.tags:
            stored[fields.TAGS] = ",".join(task.tags)
        return stored


def job_data(job_type: str, payload: Json) -> bytes:
    """RQ's data of a job: function, instance (never one here), positional and keyword arguments.

    Raises ValueError for a number that JSON cannot say (1e999 is read as infinity).
    """
    return json.dumps((function_name(job_type), None, (), payload), allow_nan=False).encode()
