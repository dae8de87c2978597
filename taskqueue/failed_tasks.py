"""Failed tasks, by what they have in common: those that `POST /requeue` sends again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import cast

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus
from rq.utils import utcparse

from taskqueue import fields
from taskqueue.connection import redis_errors
from taskqueue.errors import UnknownQueue

MAX_FOUND = 100_000  # at once: their ids take about 10 MB
STEP = 500  # tasks that are read in one go
FIELDS = ("status", "description", "ended_at", fields.TAGS, fields.FAILURE)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which failed tasks. None: whatever it is."""

    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    since: datetime | None = None  # failed at this time or later
    group: str | None = None  # of `GET /failures`: of this type, with this kind of error

    def fits(self, stored: Sequence[bytes | None]) -> bool:
        """Whether it is one of them; of its hash, FIELDS."""
        status, job_type, ended_at, tags, failure = ((value or b"").decode(errors="replace") for value in stored)
        return (
            status == JobStatus.FAILED
            and self.type in (None, job_type)
            and (self.tag is None or self.tag in tags.split(","))
            and (self.group is None or failure.startswith(f"{self.group} "))
            and (self.since is None or _is_since(ended_at, self.since))
        )


class FailedTasks:
    """Finds them, in RQ's failed registries."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues

    def check(self, wanted: Wanted) -> None:
        """Raises `UnknownQueue` where it names none of ours."""
        if wanted.queue is not None and wanted.queue not in self._queues:
            raise UnknownQueue(wanted.queue, self._queues)

    def find(self, wanted: Wanted) -> list[str]:
        """The ids of at most MAX_FOUND, queue by queue, what failed first first. Raises `QueueUnavailable`."""
        with redis_errors():
            return list(islice(self._find(wanted), MAX_FOUND))

    def _find(self, wanted: Wanted) -> Iterator[str]:
        for queue in [wanted.queue] if wanted.queue else self._queues:
            first = 0
            while ids := self._failed(queue, first):
                first += len(ids)
                with self._connection.pipeline(transaction=False) as pipeline:
                    for task_id in ids:
                        pipeline.hmget(f"{RQ_KEY_PREFIX}:job:{task_id}", FIELDS)
                    read = pipeline.execute(raise_on_error=False)
                for task_id, stored in zip(ids, read, strict=True):
                    if not isinstance(stored, Exception) and wanted.fits(stored):
                        yield task_id

    def _failed(self, queue: str, first: int) -> list[str]:
        entries = self._connection.zrange(f"{RQ_KEY_PREFIX}:failed:{queue}", first, first + STEP - 1)
        return [entry.decode(errors="replace") for entry in cast("list[bytes]", entries)]


def _is_since(ended_at: str, since: datetime) -> bool:
    try:
        return utcparse(ended_at) >= since
    except ValueError:  # another program wrote it
        return False
