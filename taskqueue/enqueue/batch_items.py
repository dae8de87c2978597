"""PlainItem tasks, thousands at a time: those that say nothing but their type and their payload.

What enqueue.lua does for one is here a few commands for all: one for hundreds of hashes, which says once what they
share, and one for all the ids that go on a list. They must not be sent twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple
from uuid import uuid4

from taskqueue.enqueue.options import ORDINARY, BulkTask
from taskqueue.enqueue.submission import Submissions
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json
from taskqueue.store import scripts
from taskqueue.store.keys import INDEX, QUEUES, job_key, queue_key, type_index_key
from taskqueue.store.scripts import Word
from taskqueue.store.times import microseconds
from taskqueue.store.transaction import packed
from taskqueue.tasks.task import Task

ORDINARY_FIELDS = {"task_type", "payload"}
AT_ONCE = 500  # hashes by one call of the script
WRITE_JOBS = scripts.source("write_jobs")


class PlainItem(NamedTuple):
    """An ordinary task: what it has for itself, two fields of its hash, and what it shares with its like."""

    task_id: str
    data: bytes
    retry_intervals: str
    like: "JobTemplate"


class JobTemplate:
    """What the ordinary tasks of one job type share that were created at one moment."""

    def __init__(self, submissions: Submissions, job_type: JobType, created: datetime) -> None:
        """Raises `UnknownQueue`."""
        self.queue = submissions.queue_of(job_type, ORDINARY)
        self.index = type_index_key(job_type.name)
        self.score = microseconds(created)
        self._submissions = submissions
        self._job_type = job_type
        task = Task(
            id="", type=job_type.name, status="queued", queue=self.queue, payload=None, created_at=created,
            attempts=job_type.attempts,
        )  # fmt: skip
        stored = submissions.job_hash(task, job_type, ORDINARY, b"")
        del stored["data"], stored["retry_intervals"]
        self._fields: list[Word] = [*chain.from_iterable(stored.items())]

    def task(self, payload: Json) -> PlainItem:
        """One more. Raises `InvalidPayload`."""
        data = self._submissions.stored_data(self._job_type, payload)
        delays = self._job_type.retry_delays.seconds(self._job_type.attempts - 1)
        return PlainItem(str(uuid4()), data, str(delays), self)

    def hashes(self, tasks: Sequence[PlainItem]) -> bytes:
        """The command that writes them."""
        keys = [job_key(task.task_id) for task in tasks]
        own = [word for task in tasks for word in (task.data, task.retry_intervals)]
        return packed("EVAL", WRITE_JOBS, len(keys), *keys, len(self._fields), *self._fields, *own)


def commands(tasks: Sequence[PlainItem], batch: str) -> list[bytes]:
    """What queues them, in their order: their hashes, their queues, the list of their batch, and the indexes."""
    by_like, by_queue = defaultdict[JobTemplate, list[PlainItem]](list), defaultdict[str, list[str]](list)
    for task in tasks:
        by_like[task.like].append(task)
        by_queue[queue_key(task.like.queue)].append(task.task_id)
    return [
        *[
            like.hashes(some[at : at + AT_ONCE])
            for like, some in by_like.items()
            for at in range(0, len(some), AT_ONCE)
        ],
        packed("SADD", QUEUES, *by_queue),
        *[packed("RPUSH", key, *ids) for key, ids in by_queue.items()],
        packed("RPUSH", batch, *[task.task_id for task in tasks]),
        packed("ZADD", INDEX, *_scored(tasks)),
        *[packed("ZADD", like.index, *_scored(some)) for like, some in by_like.items()],
    ]


def _scored(tasks: Sequence[PlainItem]) -> list[Word]:
    return [word for task in tasks for word in (task.like.score, task.task_id)]


def is_ordinary(task: BulkTask) -> bool:
    """Whether it says nothing but its type and its payload."""
    return task.model_fields_set <= ORDINARY_FIELDS
