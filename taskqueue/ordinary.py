"""Ordinary tasks, thousands at a time: those that say nothing but their type and their payload.

What enqueue.lua does for one is here some plain commands for all: a hash for each, and one command for all the ids
that go on a list. They must not be sent twice.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple
from uuid import uuid4

from rq.job import Job
from rq.queue import Queue

from taskqueue.job_types import JobType
from taskqueue.options import ORDINARY, BulkTask
from taskqueue.script import Word
from taskqueue.signature import Json
from taskqueue.submission import INDEX, Submissions, microseconds
from taskqueue.task import Task
from taskqueue.transaction import packed

ORDINARY_FIELDS = {"task_type", "payload"}


class Written(NamedTuple):
    """A task that will be queued, and the command that writes its hash."""

    task_id: str
    command: bytes


class OrdinaryTasks:
    """Those of one job type that were created at one moment."""

    def __init__(self, submissions: Submissions, job_type: JobType, created: datetime) -> None:
        """Raises `UnknownQueue`."""
        self.queue = submissions.queue_of(job_type, ORDINARY)
        self._submissions = submissions
        self._job_type = job_type
        self._score = microseconds(created)
        task = Task(
            id="", type=job_type.name, status="queued", queue=self.queue, payload=None, created_at=created,
            attempts=job_type.attempts,
        )  # fmt: skip
        stored = submissions.job_hash(task, job_type, ORDINARY, b"")
        self._own = ("data", "retry_intervals")  # the others are the same in each of them
        self._shared = [*chain.from_iterable(pair for pair in stored.items() if pair[0] not in self._own)]

    def write(self, payload: Json) -> Written:
        """One more. Raises `InvalidPayload`."""
        task_id = str(uuid4())
        own = (
            "data", self._submissions.stored_data(self._job_type, payload),
            "retry_intervals", str(self._job_type.retry_delays.seconds(self._job_type.attempts - 1)),
        )  # fmt: skip
        return Written(task_id, packed("HSET", Job.key_for(task_id), *own, *self._shared))

    def enlist(self, ids: Sequence[str], batch: str) -> list[bytes]:
        """Put them on their queue, in the indexes, and on the list of their batch."""
        key = f"{Queue.redis_queue_namespace_prefix}{self.queue}"
        scored: list[Word] = []
        for task_id in ids:
            scored += (self._score, task_id)
        return [
            packed("SADD", Queue.redis_queues_keys, key),
            packed("RPUSH", key, *ids),
            packed("RPUSH", batch, *ids),
            packed("ZADD", INDEX, *scored),
            packed("ZADD", f"{INDEX}:type:{self._job_type.name}", *scored),
        ]


def is_ordinary(task: BulkTask) -> bool:
    """Whether it says nothing but its type and its payload."""
    return task.model_fields_set <= ORDINARY_FIELDS
