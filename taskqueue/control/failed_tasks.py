"""Finds failed tasks and groups them: `GET /failures` shows the groups, and `POST /requeue` requeues tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import cast

from redis import Redis
from rq.job import JobStatus
from rq.utils import utcparse

from taskqueue.errors import UnknownQueue
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import Field, job_key, registry_key

MAX_FOUND = 100_000  # tasks at once: their ids take about 10 MB
MAX_GROUPED = 10_000  # of one queue, the latest failures; the groups of older ones are not shown
MAX_EXAMPLES = 5
STEP = 500  # tasks that are read in one round trip
FIELDS = ("status", "description", "ended_at", Field.TAGS, Field.FAILURE)


@dataclass(frozen=True, kw_only=True)
class FailureFilter:
    """Which failed tasks to find. None: any value fits."""

    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    since: datetime | None = None  # failed at this time or later
    group: str | None = None  # an id from `GET /failures`: a type and a type of error

    def fits(self, stored: Sequence[bytes | None]) -> bool:
        """Return whether a task fits; `stored` has the FIELDS of its hash."""
        status, job_type, ended_at, tags, failure = ((value or b"").decode(errors="replace") for value in stored)
        return (
            status == JobStatus.FAILED
            and self.type in (None, job_type)
            and (self.tag is None or self.tag in tags.split(","))
            and (self.group is None or failure.startswith(f"{self.group} "))
            and (self.since is None or _is_since(ended_at, self.since))
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Failed tasks of one type with one type of error."""

    group: str | None  # the id for POST /requeue; None: a stock RQ worker stores only the task's type
    type: str
    error: str | None  # its type, and its message without details
    count: int
    first: datetime | None  # when the first of them failed
    last: datetime | None
    examples: tuple[str, ...]  # ids of those that failed last


class FailedTasks:
    """Finds failed tasks in RQ's failed registries."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues

    def check(self, wanted: FailureFilter) -> None:
        """Raise `UnknownQueue` if the filter names a queue that is not in QUEUES."""
        if wanted.queue is not None and wanted.queue not in self._queues:
            raise UnknownQueue(wanted.queue, self._queues)

    def find(self, wanted: FailureFilter) -> list[str]:
        """Return at most MAX_FOUND ids, queue by queue, oldest failure first. Raises `QueueUnavailable`."""
        with redis_errors():
            return list(islice(self._find(wanted), MAX_FOUND))

    def groups(self, sees: Callable[[str], bool] = lambda _: True) -> tuple[list[Group], bool]:
        """Return the groups of the latest failures, largest group first, and whether that is all of them.

        At most MAX_GROUPED tasks of each queue count, of the job types for which `sees` is true. Raises
        `QueueUnavailable`.
        """
        by_group: dict[tuple[str | None, str], list[tuple[str, str, str | None]]] = {}
        complete = True
        with redis_errors():
            for queue in self._queues:
                for task_id, stored in self._latest(queue):
                    status, job_type, ended_at, _, failure = (
                        (value or b"").decode(errors="replace") for value in stored
                    )
                    if status == JobStatus.FAILED and sees(job_type):
                        group, _, rest = failure.partition(" ")
                        error = rest.removeprefix(f"{job_type} ") or None
                        by_group.setdefault((group or None, job_type), []).append((task_id, ended_at, error))
                complete = complete and self._connection.zcard(_registry(queue)) <= MAX_GROUPED
        groups = [_group(group, job_type, tasks) for (group, job_type), tasks in by_group.items()]
        return sorted(groups, key=lambda group: group.count, reverse=True), complete

    def _latest(self, queue: str) -> Iterator[tuple[str, Sequence[bytes | None]]]:
        """Yield the ids and FIELDS of the tasks in a failed registry, latest failure first."""
        for first in range(0, MAX_GROUPED, STEP):
            entries = self._connection.zrange(_registry(queue), first, first + STEP - 1, desc=True)
            ids = [entry.decode(errors="replace") for entry in cast("list[bytes]", entries)]
            yield from self._read(ids)
            if len(ids) < STEP:
                return

    def _find(self, wanted: FailureFilter) -> Iterator[str]:
        for queue in [wanted.queue] if wanted.queue else self._queues:
            first = 0
            while ids := self._failed(queue, first):
                first += len(ids)
                for task_id, stored in self._read(ids):
                    if wanted.fits(stored):
                        yield task_id

    def _read(self, ids: Sequence[str]) -> Iterator[tuple[str, Sequence[bytes | None]]]:
        """Yield the FIELDS of each task, without keys that hold no job."""
        with self._connection.pipeline(transaction=False) as pipeline:
            for task_id in ids:
                pipeline.hmget(job_key(task_id), FIELDS)
            read = pipeline.execute(raise_on_error=False)
        for task_id, stored in zip(ids, read, strict=True):
            if not isinstance(stored, Exception):
                yield task_id, stored

    def _failed(self, queue: str, first: int) -> list[str]:
        entries = self._connection.zrange(_registry(queue), first, first + STEP - 1)
        return [entry.decode(errors="replace") for entry in cast("list[bytes]", entries)]


def _registry(queue: str) -> str:
    return registry_key("failed", queue)


def _group(group: str | None, job_type: str, tasks: Sequence[tuple[str, str, str | None]]) -> Group:
    """Return a group of these tasks (id, ended_at, error), latest failure first."""
    times = [time for _, ended_at, _ in tasks if (time := _time(ended_at))]
    return Group(
        group=group,
        type=job_type,
        error=tasks[0][2],
        count=len(tasks),
        first=min(times, default=None),
        last=max(times, default=None),
        examples=tuple(task_id for task_id, _, _ in tasks[:MAX_EXAMPLES]),
    )


def _is_since(ended_at: str, since: datetime) -> bool:
    time = _time(ended_at)
    return time is not None and time >= since


def _time(text: str) -> datetime | None:
    try:
        return utcparse(text)
    except ValueError:  # another program wrote it
        return None
