"""Pages of tasks that pass a filter, newest first: as fast with a million tasks as with a thousand.

A page can begin at two kinds of keys. The indexes (store/keys.py) list every task by the time at which it was
created; RQ's own queues and registries list the tasks of one status. A page walks down the smallest index that
fits, and skips tasks that do not pass the filter. Where the filter names a status that few tasks have, those are
sorted instead. The status is always read from the task's own hash, so that a change by any RQ tool shows.

Tasks that other programs have queued (`rq enqueue`) are in no index: only a filter by a status that few tasks
have shows them.
"""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.job import JobStatus

from taskqueue.jobtypes.registry import registered
from taskqueue.store import scripts
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import (
    ENDED,
    INDEX,
    REGISTRIES,
    STATUSES,
    Field,
    Status,
    decoded,
    held_key,
    job_key,
    queue_key,
    registry_key,
    tag_index_key,
    type_index_key,
)
from taskqueue.store.times import EPOCH, microseconds
from taskqueue.tasks.task import ProgressJson
from taskqueue.tasks.task_filter import Position, Summary, TaskFilter

MAX_SORTED = 1000  # tasks of one status; where there are more, the page walks down the index
STEP = 200  # tasks that are read in one round trip
MAX_EXAMINED = 2000  # tasks read for one page, which may be short then: the next page goes on from there
FIELDS = (
    "status", "description", "origin", "created_at", "started_at", "ended_at", "worker_name",
    Field.ATTEMPT, Field.ATTEMPTS, Field.PROGRESS, Field.TAGS, Field.FAILURE, Field.EXPIRED,
    Field.BY, Field.RELEASE,
)  # fmt: skip

IDS_STEP = 5000  # ids that are compared in one round trip: a few milliseconds of Redis
IDS_SECONDS = 0.06  # for one page: the next one goes on
SELECT_STEP = 500  # tasks that Redis compares in one round trip: about two milliseconds
FULL_ID = 36  # characters of an id that this library made
NEVER = 9e15  # the score of a task that RQ never forgets, in microseconds
LAST_OF_ALL = "\x7f"  # as an id: above every other one
JUST_ABOVE = "!"  # after an id: above this id, and below every other one


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
        self._find_ids = scripts.register(connection, "find_ids")
        self._select_tasks = scripts.register(connection, "select_tasks")

    def page(
        self,
        wanted: TaskFilter,
        limit: int,
        below: Position | None = None,
        job_types: Collection[str] | None = None,
        among: Sequence[str] | None = None,
    ) -> Page:
        """Return at most `limit` tasks below a position, of these job types; None: of all types.

        `among`: the ids of all tasks that may pass, where the caller knows them. The position of the next page
        says nothing of tasks of other types. Raises `QueueUnavailable`.
        """
        if job_types is not None:
            wanted = replace(wanted, type=tuple(set(wanted.type or job_types) & set(job_types)))
            if not wanted.type:
                return Page([], None)
        with redis_errors():
            if among is not None:
                return self._sorted(list(among), wanted, limit, below)
            if wanted.order == "ended":
                return self._walk_ended(wanted, limit, below, is_limited=job_types is not None)
            ids = self._ids_if_few(wanted)
            if ids is not None:
                return self._sorted(ids, wanted, limit, below)
            walk = self._walk_ids if wanted.id else self._walk
            return walk(wanted, limit, below, job_types)

    def find_ids(self, wanted: TaskFilter, job_types: Collection[str] | None = None) -> Iterator[list[str]]:
        """Yield the ids of all tasks that pass, of these job types, some at a time; None: of all types.

        Tasks that come or go meanwhile may be missed. Raises `QueueUnavailable`.
        """
        if job_types is not None:
            wanted = replace(wanted, type=tuple(set(wanted.type or job_types) & set(job_types)))
            if not wanted.type:
                return
        conditions = json.dumps(wanted.conditions())
        with redis_errors():
            for key, first, end in self._sources(wanted):
                while first < end:
                    most = min(SELECT_STEP, end - first)
                    seen, *passed = self._select_tasks(keys=[key], args=[RQ_KEY_PREFIX, first, most, conditions])
                    ids = [decoded(task_id) for task_id in passed]
                    if wanted.is_about_runs:
                        ids = [task.id for task in self._read(ids)[0] if wanted.fits(task)]
                    yield ids
                    if seen < most:
                        break
                    first += seen

    def tasks(self, ids: Sequence[str]) -> dict[str, Summary]:
        """Return the tasks of these ids by their ids, without those that are gone. Raises `QueueUnavailable`."""
        with redis_errors():
            tasks, _ = self._read(ids)
        return {task.id: task for task in tasks}

    def _ids_if_few(self, wanted: TaskFilter) -> list[str] | None:
        """Return the ids of all tasks of the wanted statuses; None where they are too many to be sorted."""
        if wanted.id and len(wanted.id) == FULL_ID:
            return [wanted.id]
        if not wanted.statuses:
            return None
        with self._connection.pipeline(transaction=False) as pipeline:
            for key, status in dict(self._keys(wanted)).items():
                if status == "queued":
                    pipeline.lrange(key, 0, MAX_SORTED)
                else:
                    pipeline.zrange(key, 0, MAX_SORTED)
            answers = pipeline.execute()
        entries = [decoded(member) for members in answers for member in members]
        return None if len(entries) > MAX_SORTED else _job_ids(entries)

    def _keys(self, wanted: TaskFilter) -> Iterator[tuple[str, Status]]:
        """Yield the keys that hold the tasks of the wanted statuses, each with its status."""
        for status in wanted.statuses:
            for queue in wanted.queue or self._queues:
                for key in _keys_of(status, queue):
                    yield key, status

    def _sources(self, wanted: TaskFilter) -> list[tuple[str, int, int]]:
        """Return the smallest lists and sets that have all tasks which may pass, and which places of each.

        Tasks that other programs have queued are in no index, but have neither a tag nor one of our types.
        """
        least, most = _span(wanted)
        indexes = [[tag_index_key(tag)] for tag in wanted.tag]
        if wanted.type:
            indexes.append([type_index_key(job_type) for job_type in wanted.type])
        if wanted.after or not wanted.statuses:
            indexes.append([INDEX])
        registries = list(dict(self._keys(wanted)).items())
        with self._connection.pipeline(transaction=False) as pipeline:
            for key, status in registries:
                (pipeline.llen if status == "queued" else pipeline.zcard)(key)
            for keys in indexes:
                for key in keys:
                    pipeline.zcount(key, "-inf", f"({least}" if wanted.after else "-inf")
                    pipeline.zcount(key, "-inf", most)
            sizes: list[Any] = pipeline.execute(raise_on_error=False)
        counts = [
            size if isinstance(size, int) else 0 for size in sizes
        ]  # an error: another program wrote the key
        sources = []
        if registries:
            sources.append([(key, 0, count) for (key, _), count in zip(registries, counts, strict=False)])
        left = iter(counts[len(registries) :])
        sources += [[(key, next(left), next(left)) for key in keys] for keys in indexes]
        return min(sources, key=lambda source: sum(end - first for _, first, end in source))

    def _sorted(self, ids: list[str], wanted: TaskFilter, limit: int, below: Position | None) -> Page:
        tasks, _ = self._read(ids)
        fitting = [task for task in tasks if wanted.fits(task) and (below is None or task.position < below)]
        fitting.sort(key=lambda task: task.position, reverse=True)
        return Page(fitting[:limit], fitting[limit - 1].position if len(fitting) > limit else None)

    def _walk_ended(self, wanted: TaskFilter, limit: int, below: Position | None, *, is_limited: bool) -> Page:
        """Walk down the registries of tasks that have ended, by their scores: the times at which RQ forgets them.

        Where all lifetimes are the same, this is the order of the ends.
        """
        keys = [key for key, status in self._keys(wanted) if status in ENDED]
        fitting: list[Summary] = []
        examined, position = 0, below
        while examined < MAX_EXAMINED:
            entries = {entry for key in keys for entry in self._next(key, position, "-inf", per=1e6)}
            positions = sorted(entries, reverse=True)[:STEP]
            if not positions:
                return Page(fitting, None)
            examined += len(positions)
            tasks = {task.id: task for task in self._read([task_id for _, task_id in positions])[0]}
            for position in positions:
                task = tasks.get(position[1])
                if task and wanted.fits(task):
                    fitting.append(task)
                    if len(fitting) == limit:
                        return Page(fitting, position)
        if position and is_limited:  # the id may be that of a task which is nobody else's business
            position = position[0], LAST_OF_ALL
        return Page(fitting, position)

    def _walk(
        self, wanted: TaskFilter, limit: int, below: Position | None, job_types: Collection[str] | None
    ) -> Page:
        key = self._index(wanted)
        least, _ = _span(wanted)
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
                if wanted.fits(task):
                    fitting.append(task)
                    if len(fitting) == limit:
                        return Page(fitting, task.position)
            position = positions[-1]
        if position and job_types is not None:
            position = self._above_next(position, least, job_types)
        return Page(fitting, position)

    def _walk_ids(
        self, wanted: TaskFilter, limit: int, below: Position | None, job_types: Collection[str] | None
    ) -> Page:
        """Walk down an index as `_walk` does, and read only tasks whose ids begin as wanted."""
        key = self._index(wanted)
        least, _ = _span(wanted)
        position = below
        if wanted.before and (position is None or position[0] >= microseconds(wanted.before)):
            position = microseconds(wanted.before), ""
        fitting: list[Summary] = []
        end = time.monotonic() + IDS_SECONDS
        while True:
            place = position or ("", "")
            score, task_id, *found = self._find_ids(keys=[key], args=[wanted.id or "", *place, least, IDS_STEP])
            pairs = zip(found[::2], found[1::2], strict=True)
            positions = [(int(float(at)), decoded(each)) for each, at in pairs]
            ids = [each for at, each in positions if below is None or (at, each) < below]
            for task in self._read(ids)[0] if ids else ():
                if wanted.fits(task):
                    fitting.append(task)
                    if len(fitting) == limit:
                        return Page(fitting, task.position)
            if not task_id:
                return Page(fitting, None)
            position = int(float(score)), decoded(task_id)
            if time.monotonic() > end:
                break
        if job_types is not None:
            position = self._above_next(position, least, job_types)
        return Page(fitting, position)

    def _index(self, wanted: TaskFilter) -> str:
        """Return the smallest index that has all tasks which may pass."""
        keys = [
            *map(tag_index_key, wanted.tag),
            *(map(type_index_key, wanted.type) if len(wanted.type) == 1 else ()),
        ]
        if len(keys) < 2:
            return keys[0] if keys else INDEX
        with self._connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.zcard(key)
            sizes: list[int] = pipeline.execute()
        return str(keys[sizes.index(min(sizes))])

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

    def _next(self, key: str, position: Position | None, least: int | str, *, per: float = 1) -> list[Position]:
        """Return the next positions of a sorted set, highest first; those with one score by their ids, backwards.

        `per`: how many microseconds one unit of the scores has.
        """
        # With fractions, one more: what is above the position is left out below.
        most: float | str = (position[0] + (per != 1)) / per if position else "+inf"
        skipped = 0
        while True:
            entries = cast(
                "list[tuple[bytes, float]]",
                self._connection.zrange(
                    key, most, least, desc=True, byscore=True, offset=skipped, num=STEP, withscores=True
                ),
            )  # fmt: skip
            positions = [(round(min(score * per, NEVER)), decoded(task_id)) for task_id, score in entries]
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


def _span(wanted: TaskFilter) -> tuple[int | str, int | str]:
    """Return the least and the greatest score that a wanted task can have in an index."""
    return (
        microseconds(wanted.after) if wanted.after else "-inf",
        microseconds(wanted.before) if wanted.before else "+inf",
    )


def _job_ids(entries: Sequence[str]) -> list[str]:
    """Return the ids of jobs; an entry of the started registry is <job>:<execution>."""
    return [entry.partition(":")[0] for entry in dict.fromkeys(entries)]


def _keys_of(status: Status, queue: str) -> Iterable[str]:
    """Yield the keys of the lists and registries in which RQ keeps the tasks of a status in a queue."""
    if status == "queued":
        yield queue_key(queue)
        yield from map(held_key, registered)  # any type may be paused
    else:
        yield registry_key(REGISTRIES[status], queue)
    if status == "canceled":  # where RQ puts a task that was stopped while it ran
        yield registry_key(REGISTRIES["failed"], queue)


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
            sent_by,
            release,
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
            group=failure.partition(" ")[0] if failure else None,
            sent_by=sent_by,
            release=release,
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
