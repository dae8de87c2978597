"""Finds failed tasks and groups them: `GET /failures` shows the groups, and `POST /requeue` requeues tasks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from threading import Lock
from typing import NamedTuple, cast

from redis import Redis
from rq.job import JobStatus
from rq.utils import utcparse

from taskqueue.errors import UnknownQueue
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import Field, decoded, job_key, registry_key

MAX_FOUND = 100_000  # tasks at once: their ids take about 10 MB
MAX_GROUPED = 10_000  # of one queue, the latest failures; the groups of older ones are not shown
MAX_EXAMPLES = 5
HOURS = 24  # of a group, by which its failures are counted
FRESH_SECONDS = 3.0  # younger groups are answered again, however many ask
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
    """Failed tasks of one type with one type of error; `group` is what `POST /requeue` takes."""

    group: str | None  # None: a stock RQ worker stores only the task's type
    type: str
    error: str | None  # its type, and its message without details
    count: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    examples: tuple[str, ...]  # ids of those that failed last
    by_hour: tuple[int, ...]
    """How many failed in each of the last 24 hours, the present one last."""


class FailedTask(NamedTuple):
    """A failed task, as far as its group needs it."""

    id: str
    group: str | None
    type: str
    error: str | None
    ended_at: datetime | None


class FailedTasks:
    """Finds failed tasks in RQ's failed registries."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues
        self._known: dict[tuple[str, float], FailedTask | None] = {}  # by id and score; None: it has not failed
        self._groups: tuple[list[Group], bool] = ([], True)
        self._grouped_at = float("-inf")
        self._lock = Lock()

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

        At most MAX_GROUPED tasks of each queue count, of the job types for which `sees` is true. They are three
        seconds old at most. Raises `QueueUnavailable`.
        """
        with self._lock:
            if time.monotonic() - self._grouped_at > FRESH_SECONDS:
                with redis_errors():
                    self._groups = self._read_groups()
                self._grouped_at = time.monotonic()
            groups, complete = self._groups
        return [group for group in groups if sees(group.type)], complete

    def _read_groups(self) -> tuple[list[Group], bool]:
        """Read which tasks have failed, and how those did that are new; another failure has another score."""
        entries: list[tuple[str, float]] = []
        complete = True
        for queue in self._queues:
            latest = cast(
                "list[tuple[bytes, float]]",
                self._connection.zrange(_registry(queue), 0, MAX_GROUPED - 1, desc=True, withscores=True),
            )
            entries += [(decoded(task_id), score) for task_id, score in latest]
            complete = complete and len(latest) < MAX_GROUPED
        unknown = [entry for entry in entries if entry not in self._known]
        for first in range(0, len(unknown), STEP):
            step = unknown[first : first + STEP]
            read = dict(self._read([task_id for task_id, _ in step]))
            self._known |= {entry: _failed_task(*entry, read.get(entry[0])) for entry in step}
        self._known = {entry: self._known[entry] for entry in entries}
        by_group: dict[tuple[str | None, str], list[FailedTask]] = {}
        for entry in entries:
            if task := self._known[entry]:
                by_group.setdefault((task.group, task.type), []).append(task)
        groups = [_group(group, job_type, tasks) for (group, job_type), tasks in by_group.items()]
        return sorted(groups, key=lambda group: group.count, reverse=True), complete

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


def _failed_task(task_id: str, _score: float, stored: Sequence[bytes | None] | None) -> FailedTask | None:
    """Return a failed task from the FIELDS of its hash; None: it is gone, or has another status."""
    if stored is None:
        return None
    status, job_type, ended_at, _, failure = ((value or b"").decode(errors="replace") for value in stored)
    if status != JobStatus.FAILED:
        return None
    group, _, rest = failure.partition(" ")
    return FailedTask(task_id, group or None, job_type, rest.removeprefix(f"{job_type} ") or None, _time(ended_at))


def _group(group: str | None, job_type: str, tasks: Sequence[FailedTask]) -> Group:
    """Return a group of these tasks, latest failure first."""
    times = [task.ended_at for task in tasks if task.ended_at]
    by_hour = [0] * HOURS
    now = datetime.now(UTC)
    for failed_at in times:
        hours_ago = int((now - failed_at).total_seconds() // 3600)
        if 0 <= hours_ago < HOURS:
            by_hour[HOURS - 1 - hours_ago] += 1
    return Group(
        group=group,
        type=job_type,
        error=tasks[0].error,
        count=len(tasks),
        first_failed_at=min(times, default=None),
        last_failed_at=max(times, default=None),
        examples=tuple(task.id for task in tasks[:MAX_EXAMPLES]),
        by_hour=tuple(by_hour),
    )


def _is_since(ended_at: str, since: datetime) -> bool:
    time = _time(ended_at)
    return time is not None and time >= since


def _time(text: str) -> datetime | None:
    try:
        return utcparse(text) if text else None
    except ValueError:  # another program wrote it
        return None
