"""Failed tasks, by what they have in common: those that `POST /requeue` sends again."""

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

MAX_FOUND = 100_000  # at once: their ids take about 10 MB
MAX_GROUPED = 10_000  # of one queue; who has more failures still sees what is common among the latest
MAX_EXAMPLES = 5
STEP = 500  # tasks that are read in one go
FIELDS = ("status", "description", "ended_at", Field.TAGS, Field.FAILURE)


@dataclass(frozen=True, kw_only=True)
class FailureFilter:
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


@dataclass(frozen=True, kw_only=True)
class Group:
    """Failed tasks of one type with one kind of error; `group` is what `POST /requeue` takes."""

    group: str | None  # None: a worker that is not ours says no more than the type
    type: str
    error: str | None  # its kind, and its message without details
    count: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    examples: tuple[str, ...]  # ids of those that failed last


class FailedTasks:
    """Finds them, in RQ's failed registries."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues

    def check(self, wanted: FailureFilter) -> None:
        """Raises `UnknownQueue` where it names none of ours."""
        if wanted.queue is not None and wanted.queue not in self._queues:
            raise UnknownQueue(wanted.queue, self._queues)

    def find(self, wanted: FailureFilter) -> list[str]:
        """The ids of at most MAX_FOUND, queue by queue, what failed first first. Raises `QueueUnavailable`."""
        with redis_errors():
            return list(islice(self._find(wanted), MAX_FOUND))

    def groups(self, sees: Callable[[str], bool] = lambda _: True) -> tuple[list[Group], bool]:
        """Those that failed last, at most MAX_GROUPED of each queue, by what they have in common, the most first.

        And whether these are all. `sees` says of which job types. Raises `QueueUnavailable`.
        """
        found: dict[tuple[str | None, str], list[tuple[str, str, str | None]]] = {}
        are_all = True
        with redis_errors():
            for queue in self._queues:
                for task_id, stored in self._latest(queue):
                    status, job_type, ended_at, _, failure = (
                        (value or b"").decode(errors="replace") for value in stored
                    )
                    if status == JobStatus.FAILED and sees(job_type):
                        group, _, rest = failure.partition(" ")
                        error = rest.removeprefix(f"{job_type} ") or None
                        found.setdefault((group or None, job_type), []).append((task_id, ended_at, error))
                are_all = are_all and self._connection.zcard(_registry(queue)) <= MAX_GROUPED
        groups = [_group(group, job_type, tasks) for (group, job_type), tasks in found.items()]
        return sorted(groups, key=lambda one: one.count, reverse=True), are_all

    def _latest(self, queue: str) -> Iterator[tuple[str, Sequence[bytes | None]]]:
        """The tasks of a failed registry, what failed last first."""
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
        """FIELDS of each, but for what is no job."""
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
    """Of its tasks (id, ended_at, error), what failed last first."""
    moments = [moment for _, ended_at, _ in tasks if (moment := _moment(ended_at))]
    return Group(
        group=group,
        type=job_type,
        error=tasks[0][2],
        count=len(tasks),
        first_failed_at=min(moments, default=None),
        last_failed_at=max(moments, default=None),
        examples=tuple(task_id for task_id, _, _ in tasks[:MAX_EXAMPLES]),
    )


def _is_since(ended_at: str, since: datetime) -> bool:
    moment = _moment(ended_at)
    return moment is not None and moment >= since


def _moment(text: str) -> datetime | None:
    try:
        return utcparse(text)
    except ValueError:  # another program wrote it
        return None
