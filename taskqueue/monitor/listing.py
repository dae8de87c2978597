"""Pages of tasks that pass a filter, newest first: as fast with a million tasks as with a thousand.

A page can begin at two kinds of keys. The indexes (store/keys.py) list every task by the time at which it was
created; RQ's own queues and registries list the tasks of one status. A page walks down the smallest index that
fits, and skips tasks that do not pass the filter. Where the filter names a status that few tasks have, those are
sorted instead. The status is always read from the task's own hash, so that a change by any RQ tool shows.

Tasks that other programs have queued (`rq enqueue`) are in no index: only a filter by a status that few tasks
have shows them.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis
from rq.job import JobStatus

from taskqueue.jobtypes.registry import registered
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import (
    INDEX,
    REGISTRIES,
    STATUSES,
    Field,
    Status,
    held_key,
    job_key,
    queue_key,
    registry_key,
    tag_index_key,
    type_index_key,
)
from taskqueue.store.times import EPOCH, microseconds
from taskqueue.tasks.task import ProgressJson

MAX_SORTED = 1000  # tasks of one status; where there are more, the page walks down the index
STEP = 200  # tasks that are read in one round trip
MAX_EXAMINED = 2000  # tasks read for one page, which may be short then: the next page goes on from there
FIELDS = (
    "status", "description", "origin", "created_at", "started_at", "ended_at", "worker_name",
    Field.ATTEMPT, Field.ATTEMPTS, Field.PROGRESS, Field.TAGS, Field.FAILURE, Field.EXPIRED,
)  # fmt: skip

JUST_ABOVE = "!"  # after an id: above this id, and below every other one
Position = tuple[int, str]  # of a task in the order: when it was created (microseconds since 1970), and its id


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """A filter of tasks. None in a field: tasks with any value pass."""

    status: Status | None = None
    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    after: datetime | None = None  # created at this time or later
    before: datetime | None = None  # created before this time


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A task without its payload, result and tracebacks, which may be large."""

    id: str
    type: str
    status: Status
    queue: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempt: int
    attempts: int
    progress: ProgressJson | None
    tags: tuple[str, ...]
    worker: str | None
    failure: str | None  # why it failed for good: the type of the error, and its message

    @property
    def position(self) -> Position:
        """Return the position in the order of all tasks."""
        return microseconds(self.created_at), self.id


@dataclass(frozen=True)
class Page:
    """A page of tasks, and the position below which the next page begins; None: this is the last page."""

    tasks: list[Summary]
    next: Position | None


class Listing:
    """Reads pages of tasks. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues

    def page(
        self,
        wanted: TaskFilter,
        limit: int,
        below: Position | None = None,
        job_types: Collection[str] | None = None,
    ) -> Page:
        """Return at most `limit` tasks below a position, of these job types; None: of all types.

        The position of the next page says nothing of tasks of other types. Raises `QueueUnavailable`.
        """
        if job_types is not None and wanted.type is not None and wanted.type not in job_types:
            return Page([], None)
        with redis_errors():
            ids = self._ids_if_few(wanted)
            if ids is not None:
                return self._sorted(ids, wanted, limit, below, job_types)
            return self._walk(wanted, limit, below, job_types)

    def tasks(self, ids: Sequence[str]) -> dict[str, Summary]:
        """Return the tasks of these ids by their ids, without those that are gone. Raises `QueueUnavailable`."""
        with redis_errors():
            tasks, _ = self._read(ids)
        return {task.id: task for task in tasks}

    def _ids_if_few(self, wanted: TaskFilter) -> list[str] | None:
        """Return the ids of all tasks of the wanted status; None where they are too many to be sorted."""
        if wanted.status is None:
            return None
        queues = [wanted.queue] if wanted.queue else self._queues
        keys = [key for queue in queues for key in _keys_of(wanted.status, queue)]
        with self._connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                if wanted.status == "queued":
                    pipeline.lrange(key, 0, MAX_SORTED)
                else:
                    pipeline.zrange(key, 0, MAX_SORTED)
            answers = pipeline.execute()
        ids = [member.decode(errors="replace") for members in answers for member in members]
        # An entry of the started registry is <job>:<execution>.
        return None if len(ids) > MAX_SORTED else [entry.partition(":")[0] for entry in dict.fromkeys(ids)]

    def _sorted(
        self,
        ids: list[str],
        wanted: TaskFilter,
        limit: int,
        below: Position | None,
        job_types: Collection[str] | None,
    ) -> Page:
        tasks, _ = self._read(ids)
        fitting = [
            task for task in tasks if _fits(task, wanted, job_types) and (below is None or task.position < below)
        ]
        fitting.sort(key=lambda task: task.position, reverse=True)
        return Page(fitting[:limit], fitting[limit - 1].position if len(fitting) > limit else None)

    def _walk(
        self, wanted: TaskFilter, limit: int, below: Position | None, job_types: Collection[str] | None
    ) -> Page:
        key = _index(wanted)
        least = microseconds(wanted.after) if wanted.after else "-inf"
        fitting: list[Summary] = []
        examined = 0
        position: Position | None = below
        if wanted.before and (position is None or position[0] >= microseconds(wanted.before)):
            position = microseconds(wanted.before), ""
        while examined < MAX_EXAMINED:
            positions = self._next(key, position, least)
            if not positions:
                return Page(fitting, None)
            examined += len(positions)
            tasks, deleted = self._read([task_id for _, task_id in positions])
            if deleted:
                self._connection.zrem(key, *deleted)
            for task in tasks:
                if _fits(task, wanted, job_types):
                    fitting.append(task)
                    if len(fitting) == limit:
                        return Page(fitting, task.position)
            position = positions[-1]
        if position and job_types is not None:
            position = self._above_next(position, least, job_types)
        return Page(fitting, position)

    def _above_next(self, position: Position, least: int | str, job_types: Collection[str]) -> Position | None:
        """Return a position just above the next task of these job types; None: there is none below `position`.

        The position itself may be that of a task of another type, whose id is nobody else's business.
        """
        next_ones = [
            positions[0]
            for job_type in job_types
            if (positions := self._next(type_index_key(job_type), position, least))
        ]
        if not next_ones:
            return None
        created, task_id = max(next_ones)
        return created, f"{task_id}{JUST_ABOVE}"

    def _next(self, key: str, position: Position | None, least: int | str) -> list[Position]:
        """Return the next positions of an index, newest first; in one microsecond by their ids, backwards."""
        most = position[0] if position else "+inf"
        skipped = 0
        while True:
            entries = cast(
                "list[tuple[bytes, float]]",
                self._connection.zrange(
                    key, most, least, desc=True, byscore=True, offset=skipped, num=STEP, withscores=True
                ),
            )  # fmt: skip
            positions = [(int(score), task_id.decode(errors="replace")) for task_id, score in entries]
            left = [entry for entry in positions if position is None or entry < position]
            if left or len(entries) < STEP:
                return left
            skipped += len(entries)

    def _read(self, ids: Sequence[str]) -> tuple[list[Summary], list[str]]:
        """Return the tasks of these ids, and the ids of those that do not exist any more."""
        with self._connection.pipeline(transaction=False) as pipeline:
            for task_id in ids:
                pipeline.hmget(job_key(task_id), FIELDS)
            answers = pipeline.execute(raise_on_error=False)
        tasks, deleted = [], []
        for task_id, answer in zip(ids, answers, strict=True):
            if isinstance(answer, Exception) or answer[0] is None:
                deleted.append(task_id)
            elif task := _summary(task_id, answer):
                tasks.append(task)
        return tasks, deleted


def _index(wanted: TaskFilter) -> str:
    if wanted.tag:
        return tag_index_key(wanted.tag)
    return type_index_key(wanted.type) if wanted.type else INDEX


def _keys_of(status: Status, queue: str) -> Iterable[str]:
    """Yield the keys of the lists and registries in which RQ keeps the tasks of a status in a queue."""
    if status == "queued":
        yield queue_key(queue)
        yield from (held_key(name) for name, job_type in registered.items() if job_type.limits)
    else:
        yield registry_key(REGISTRIES[status], queue)
    if status == "canceled":  # where RQ puts a task that was stopped while it ran
        yield registry_key(REGISTRIES["failed"], queue)


def _fits(task: Summary, wanted: TaskFilter, job_types: Collection[str] | None) -> bool:
    return (
        wanted.status in (None, task.status)
        and wanted.type in (None, task.type)
        and wanted.queue in (None, task.queue)
        and (wanted.tag is None or wanted.tag in task.tags)
        and (wanted.after is None or task.created_at >= wanted.after)
        and (wanted.before is None or task.created_at < wanted.before)
        and (job_types is None or task.type in job_types)
    )


def _summary(task_id: str, answer: Sequence[bytes | None]) -> Summary | None:
    """Return a task from FIELDS of its hash; None where another program wrote values that cannot be read."""
    try:
        texts = [value.decode() if value else None for value in answer]
        (
            status,
            kind,
            queue,
            created,
            started,
            ended,
            worker,
            attempt,
            attempts,
            progress,
            tags,
            failure,
            expired,
        ) = texts
        return Summary(
            id=task_id,
            type=kind or "",
            status="canceled" if expired else STATUSES[JobStatus(status)],
            queue=queue or "",
            created_at=_time(created) or EPOCH,
            started_at=_time(started),
            ended_at=_time(ended),
            attempt=int(attempt or 0),
            attempts=max(int(attempts or 1), int(attempt or 0)),
            progress=_progress(progress),
            tags=tuple(tags.split(",")) if tags else (),
            worker=worker,
            failure=failure.partition(" ")[2] if failure else None,
        )
    except ValueError:
        return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _progress(text: str | None) -> ProgressJson | None:
    progress: Any = json.loads(text) if text else None
    return cast("ProgressJson | None", progress)


def cursor(position: Position) -> str:
    """Return a position as text, which clients send back."""
    return f"{position[0]}-{position[1]}"


def position_of(cursor: str) -> Position:
    """Return the position that a cursor names. Raises ValueError for a text that is not a cursor."""
    created, dash, task_id = cursor.partition("-")
    if not (created.isdigit() and len(created) < 20 and dash):
        raise ValueError("A cursor is copied unchanged from `next` of the page before")
    return int(created), task_id
