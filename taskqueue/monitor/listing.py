"""Pages of tasks, newest first, by what one wants to see: as fast with a million tasks as with a thousand.

Redis has two places to begin at. The indexes (store/keys.py) have every task by the time at which it was
created; RQ's own queues and registries have those of one status. A page walks down the index that has the fewest,
and leaves out what does not fit, unless a status is asked for that few tasks have: then those are sorted. What a
task's status is, only its own hash says, so that a change by any RQ tool is seen.

Tasks that other programs have queued (`rq enqueue`) stand in no index: only a status that few have shows them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
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

FEW = 1000  # so many tasks of a status are sorted; where there are more, the index is walked
STEP = 200  # ids that are looked at in one go
MAX_EXAMINED = 2000  # for one page: it may be short then, and the next one goes on from there
FIELDS = (
    "status", "description", "origin", "created_at", "started_at", "ended_at", "worker_name",
    Field.ATTEMPT, Field.ATTEMPTS, Field.PROGRESS, Field.TAGS, Field.FAILURE, Field.EXPIRED,
)  # fmt: skip

Place = tuple[int, str]  # where a task stands in the order: when it was created (microseconds), and its id


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Which tasks. None: whatever it is."""

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
    failure: str | None  # why it failed for good: the kind of error, and its message

    @property
    def place(self) -> Place:
        """Where it stands in the order."""
        return microseconds(self.created_at), self.id


@dataclass(frozen=True)
class Page:
    """Some tasks, and where the next page begins; None: this is the last one."""

    tasks: list[Summary]
    next: Place | None


class Listing:
    """Reads pages. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues

    def page(
        self,
        wanted: TaskFilter,
        limit: int,
        below: Place | None = None,
        sees: Callable[[str], bool] = lambda _: True,
    ) -> Page:
        """At most `limit` tasks below that place; `sees` says of which job types. Raises `QueueUnavailable`."""
        with redis_errors():
            few = self._few(wanted)
            if few is not None:
                return self._sorted(few, wanted, limit, below, sees)
            return self._walk(wanted, limit, below, sees)

    def _few(self, wanted: TaskFilter) -> list[str] | None:
        """The ids of all that have this status, where they are few."""
        if wanted.status is None:
            return None
        queues = [wanted.queue] if wanted.queue else self._queues
        keys = [key for queue in queues for key in _keys_of(wanted.status, queue)]
        with self._connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                if wanted.status == "queued":
                    pipeline.lrange(key, 0, FEW)
                else:
                    pipeline.zrange(key, 0, FEW)
            found = pipeline.execute()
        ids = [member.decode(errors="replace") for members in found for member in members]
        # In the started registry an entry is <job>:<execution>.
        return None if len(ids) > FEW else [one.partition(":")[0] for one in dict.fromkeys(ids)]

    def _sorted(
        self, ids: list[str], wanted: TaskFilter, limit: int, below: Place | None, sees: Callable[[str], bool]
    ) -> Page:
        read, _ = self._read(ids)
        fitting = [task for task in read if _fits(task, wanted, sees) and (below is None or task.place < below)]
        fitting.sort(key=lambda task: task.place, reverse=True)
        return Page(fitting[:limit], fitting[limit - 1].place if len(fitting) > limit else None)

    def _walk(self, wanted: TaskFilter, limit: int, below: Place | None, sees: Callable[[str], bool]) -> Page:
        key = _index(wanted)
        least = microseconds(wanted.after) if wanted.after else "-inf"
        found: list[Summary] = []
        examined = 0
        place: Place | None = below
        if wanted.before and (place is None or place[0] >= microseconds(wanted.before)):
            place = microseconds(wanted.before), ""
        while examined < MAX_EXAMINED:
            some = self._next(key, place, least)
            if not some:
                return Page(found, None)
            examined += len(some)
            read, gone = self._read([task_id for _, task_id in some])
            if gone:
                self._connection.zrem(key, *gone)
            for task in read:
                if _fits(task, wanted, sees):
                    found.append(task)
                    if len(found) == limit:
                        return Page(found, task.place)
            place = some[-1]
        return Page(found, place)

    def _next(self, key: str, place: Place | None, least: int | str) -> list[Place]:
        """The next places in an index, newest first; those of one microsecond by their ids, backwards."""
        most = place[0] if place else "+inf"
        skipped = 0
        while True:
            entries = cast(
                "list[tuple[bytes, float]]",
                self._connection.zrange(
                    key, most, least, desc=True, byscore=True, offset=skipped, num=STEP, withscores=True
                ),
            )  # fmt: skip
            places = [(int(score), task_id.decode(errors="replace")) for task_id, score in entries]
            left = [one for one in places if place is None or one < place]
            if left or len(entries) < STEP:
                return left
            skipped += len(entries)

    def _read(self, ids: Sequence[str]) -> tuple[list[Summary], list[str]]:
        """The tasks of these ids, and the ids of those that are gone."""
        with self._connection.pipeline(transaction=False) as pipeline:
            for task_id in ids:
                pipeline.hmget(job_key(task_id), FIELDS)
            answers = pipeline.execute(raise_on_error=False)
        found, gone = [], []
        for task_id, answer in zip(ids, answers, strict=True):
            if isinstance(answer, Exception) or answer[0] is None:
                gone.append(task_id)
            elif task := _summary(task_id, answer):
                found.append(task)
        return found, gone


def _index(wanted: TaskFilter) -> str:
    if wanted.tag:
        return tag_index_key(wanted.tag)
    return type_index_key(wanted.type) if wanted.type else INDEX


def _keys_of(status: Status, queue: str) -> Iterable[str]:
    """Where RQ keeps those of a status: the lists and registries of a queue."""
    if status == "queued":
        yield queue_key(queue)
        yield from (held_key(name) for name, job_type in registered.items() if job_type.limits)
    else:
        yield registry_key(REGISTRIES[status], queue)
    if status == "canceled":  # RQ's place for what was stopped while it ran
        yield registry_key(REGISTRIES["failed"], queue)


def _fits(task: Summary, wanted: TaskFilter, sees: Callable[[str], bool]) -> bool:
    return (
        wanted.status in (None, task.status)
        and wanted.type in (None, task.type)
        and wanted.queue in (None, task.queue)
        and (wanted.tag is None or wanted.tag in task.tags)
        and (wanted.after is None or task.created_at >= wanted.after)
        and (wanted.before is None or task.created_at < wanted.before)
        and sees(task.type)
    )


def _summary(task_id: str, answer: Sequence[bytes | None]) -> Summary | None:
    """A task from FIELDS of its hash; None where another program has written what cannot be read."""
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
            created_at=_moment(created) or EPOCH,
            started_at=_moment(started),
            ended_at=_moment(ended),
            attempt=int(attempt or 0),
            attempts=max(int(attempts or 1), int(attempt or 0)),
            progress=_progress(progress),
            tags=tuple(tags.split(",")) if tags else (),
            worker=worker,
            failure=failure.partition(" ")[2] if failure else None,
        )
    except ValueError:
        return None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _progress(text: str | None) -> ProgressJson | None:
    found: Any = json.loads(text) if text else None
    return cast("ProgressJson", found)


def cursor(place: Place) -> str:
    """A place as a client hands it back."""
    return f"{place[0]}-{place[1]}"


def place_of(cursor: str) -> Place:
    """The place that a cursor stands for. Raises ValueError."""
    created, dash, task_id = cursor.partition("-")
    if not (created.isdigit() and len(created) < 20 and dash):
        raise ValueError("A cursor is what the page before has in `next`, unchanged")
    return int(created), task_id
