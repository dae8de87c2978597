"""Plain tasks, thousands at a time: those that say nothing but their type and their payload.

enqueue.lua queues one task. Here a few commands queue all: one for hundreds of hashes, which names only once the
fields that they share, and one for all the ids that go on a list. They must not be sent twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from taskqueue.enqueue.job_fields import job_fields
from taskqueue.enqueue.options import DEFAULT_OPTIONS, BulkTask
from taskqueue.enqueue.submission import Submissions, checked_data, trace_text
from taskqueue.enqueue.task_id import new_task_id
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json
from taskqueue.store import scripts
from taskqueue.store.keys import INDEX, QUEUES, job_key, queue_key, type_index_key
from taskqueue.store.scripts import Word
from taskqueue.store.times import microseconds
from taskqueue.store.transaction import packed
from taskqueue.telemetry.series import count_command
from taskqueue.telemetry.trace import current_sender

PLAIN = {"task_type", "payload"}  # what a plain task says
HASHES_AT_ONCE = 500  # by one call of the script
WRITE_JOBS = scripts.source("write_jobs")


class PlainItem(NamedTuple):
    """A plain task: its id, the two fields of its hash that are its own, and the template with the others."""

    task_id: str
    data: bytes
    retry_intervals: str
    template: "JobTemplate"


class JobTemplate:
    """The fields that the plain tasks of one job type share in one batch."""

    def __init__(self, submissions: Submissions, job_type: JobType, created: datetime) -> None:
        """Raises `UnknownQueue`."""
        self.queue = submissions.queue_of(job_type, DEFAULT_OPTIONS)
        self.index = type_index_key(job_type.name)
        self.score = microseconds(created)
        self._job_type = job_type
        fields = job_fields(
            job_type, DEFAULT_OPTIONS, b"", created, submissions.settings, trace_text(), current_sender.get()
        )
        del fields["data"], fields["retry_intervals"]
        self._fields: list[Word] = [*chain.from_iterable(fields.items())]

    def item(self, payload: Json) -> PlainItem:
        """Return one more task. Raises `InvalidPayload`."""
        data = checked_data(self._job_type, payload)
        delays = self._job_type.retry_delays.seconds(self._job_type.attempts - 1)
        return PlainItem(new_task_id(), data, str(delays), self)

    def count(self, number: int) -> bytes:
        """Return the command that counts so many submissions."""
        return count_command(f"{self._job_type.name}:{self.queue}:submitted", number, self.score / 1e6)

    def hashes(self, items: Sequence[PlainItem]) -> bytes:
        """Return the command that writes the hashes of these tasks."""
        keys = [job_key(item.task_id) for item in items]
        own = [word for item in items for word in (item.data, item.retry_intervals)]
        return packed("EVAL", WRITE_JOBS, len(keys), *keys, len(self._fields), *self._fields, *own)


def commands(items: Sequence[PlainItem], batch: str) -> list[bytes]:
    """Return what queues the tasks in their order: their hashes, queues, the list of their batch, the indexes."""
    by_template = defaultdict[JobTemplate, list[PlainItem]](list)
    by_queue = defaultdict[str, list[str]](list)
    for item in items:
        by_template[item.template].append(item)
        by_queue[queue_key(item.template.queue)].append(item.task_id)
    return [
        *[
            template.hashes(alike[start : start + HASHES_AT_ONCE])
            for template, alike in by_template.items()
            for start in range(0, len(alike), HASHES_AT_ONCE)
        ],
        packed("SADD", QUEUES, *by_queue),
        *[packed("RPUSH", key, *ids) for key, ids in by_queue.items()],
        packed("RPUSH", batch, *[item.task_id for item in items]),
        packed("ZADD", INDEX, *_scores_and_ids(items)),
        *[packed("ZADD", template.index, *_scores_and_ids(alike)) for template, alike in by_template.items()],
        *[template.count(len(alike)) for template, alike in by_template.items()],
    ]


def _scores_and_ids(items: Sequence[PlainItem]) -> list[Word]:
    return [word for item in items for word in (item.template.score, item.task_id)]


def is_plain(task: BulkTask) -> bool:
    """Return whether a task says nothing but its type and its payload."""
    return task.model_fields_set <= PLAIN
