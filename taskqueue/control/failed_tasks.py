"""Finds failed tasks and groups them: `GET /failures` shows the groups, and `POST /requeue` requeues tasks."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from threading import Lock
from typing import NamedTuple, cast

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus

from taskqueue.errors import UnknownQueue
from taskqueue.store import scripts
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


@dataclass
class Latest:
    """The latest failures of a queue, latest first."""

    state: bytes = b""  # of the registry: list_failures.lua
    tasks: dict[tuple[str, bytes], FailedTask | None] = field(default_factory=dict)
    """By id and score; None: the task has not failed, whatever the registry says."""


class FailedTasks:
    """Finds failed tasks in RQ's failed registries."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues
        self._list = scripts.register(connection, "list_failures")
        self._read_kinds = scripts.register(connection, "read_failures")
        self._latest = {queue: Latest() for queue in queues}
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

    def in_group(self, group: str) -> list[str]:
        """Return the ids of the latest failures of a group, as `groups` counts them. Raises `QueueUnavailable`."""
        self.groups()
        with self._lock:
            return [task.id for task in self._known() if task.group == group]

    def _read_groups(self) -> tuple[list[Group], bool]:
        """Read which tasks have failed, and how those did that are new; another failure has another score."""
        complete = True
        for queue in self._queues:
            latest = self._latest[queue]
            state, *answer = self._list(keys=[_registry(queue)], args=[MAX_GROUPED, latest.state])
            if state != latest.state:
                entries = list(zip(map(decoded, answer[::2]), answer[1::2], strict=True))
                unknown = [entry for entry in entries if entry not in latest.tasks]
                for first in range(0, len(unknown), STEP):
                    step = unknown[first : first + STEP]
                    latest.tasks |= zip(step, self._read_failures([task_id for task_id, _ in step]), strict=True)
                latest.tasks, latest.state = {entry: latest.tasks[entry] for entry in entries}, state
            complete = complete and len(latest.tasks) < MAX_GROUPED
        by_group: dict[tuple[str | None, str], list[FailedTask]] = {}
        for task in self._known():
            by_group.setdefault((task.group, task.type), []).append(task)
        groups = [_group(group, job_type, tasks) for (group, job_type), tasks in by_group.items()]
        return sorted(groups, key=lambda group: group.count, reverse=True), complete

    def _known(self) -> Iterator[FailedTask]:
        """Return the tasks that count for the groups."""
        return (task for latest in self._latest.values() for task in latest.tasks.values() if task)

    def _read_failures(self, ids: Sequence[str]) -> Iterator[FailedTask | None]:
        """Yield how each of these tasks has failed; None: it has not, or is gone."""
        texts, places, times = self._read_kinds(args=[RQ_KEY_PREFIX, *ids])
        kinds: list[tuple[str | None, str, str | None]] = []
        for text in texts:
            # "<group> <job type> <error>": tasks/failure.py. A job type has no space; that of a stock worker may.
            group_id, _, rest = text.decode(errors="replace").partition(" ")
            job_type, _, error = rest.partition(" ") if group_id else (rest, "", "")
            kinds.append((group_id or None, job_type, error or None))
        for task_id, place, ended_at in zip(ids, places, times, strict=True):
            if place:
                group_id, job_type, error = kinds[place - 1]
                at = _time(ended_at.decode(errors="replace"))
                yield FailedTask(task_id, group_id, job_type, error, at)
            else:
                yield None

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


def _group(group: str | None, job_type: str, tasks: Sequence[FailedTask]) -> Group:
    """Return a group of these tasks, latest failure first."""
    times = [task.ended_at for task in tasks if task.ended_at]
    now = time.time()
    hours_ago = Counter(int((now - failed_at.timestamp()) // 3600) for failed_at in times)
    return Group(
        group=group,
        type=job_type,
        error=tasks[0].error,
        count=len(tasks),
        first_failed_at=min(times, default=None),
        last_failed_at=max(times, default=None),
        examples=tuple(task.id for task in tasks[:MAX_EXAMPLES]),
        by_hour=tuple(hours_ago[hours] for hours in reversed(range(HOURS))),
    )


def _is_since(ended_at: str, since: datetime) -> bool:
    failed_at = _time(ended_at)
    return failed_at is not None and failed_at >= since


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if text else None
        return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
    except ValueError:  # another program wrote it
        return None
