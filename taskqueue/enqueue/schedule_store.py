"""Schedules in Redis: store, list, pause, run by hand. The workers run those that are due."""

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError, WatchError

from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.submission import Submission, Submissions
from taskqueue.errors import InvalidPayload, InvalidScheduleName, TooManySchedules, UnknownSchedule
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import SCHEDULES, decoded, schedule_key
from taskqueue.tasks.task import Task

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
MAX_SCHEDULES = 1000


@dataclass(frozen=True)
class StoredSchedule:
    """A schedule as Redis has it, with its next and its last run."""

    name: str
    schedule: Schedule
    created_at: datetime
    updated_at: datetime  # intervals are counted from here
    next_run: datetime | None  # None: it is paused
    last_run: datetime | None
    last_task: str | None
    runs: int
    skipped: int  # times without a run: no worker was there, or the run before had not ended
    error: str | None  # why its task could not be queued the last time

    @property
    def paused(self) -> bool:
        """Whether it runs only after `resume`."""
        return self.next_run is None


class Schedules:
    """Stores, reads and controls the schedules of one Redis."""

    def __init__(self, connection: Redis, submissions: Submissions, job_types: JobTypes) -> None:
        self._connection = connection
        self._submissions = submissions
        self._job_types = job_types

    def put(self, name: str, schedule: Schedule) -> tuple[StoredSchedule, bool]:
        """Store a schedule under a name, and return it and whether the name is new. An equal one changes nothing.

        Raises `InvalidScheduleName`, `TooManySchedules`; and what submitting its task would raise.
        """
        if not NAME.fullmatch(name):
            raise InvalidScheduleName(name)
        submission(self._submissions, self._job_types, name, schedule)
        now = datetime.now(UTC)
        with redis_errors(), self._connection.pipeline() as pipeline:
            while True:
                try:
                    pipeline.watch(schedule_key(name))
                    stored: Any = pipeline.hgetall(schedule_key(name))
                    before = _readable(name, stored)
                    if before and before.schedule == schedule:
                        return before, False
                    if not before and self._connection.zcard(SCHEDULES) >= MAX_SCHEDULES:
                        raise TooManySchedules(MAX_SCHEDULES)
                    pipeline.multi()
                    pipeline.hset(schedule_key(name), "schedule", schedule.model_dump_json(exclude_defaults=True))
                    pipeline.hset(schedule_key(name), "updated_at", now.timestamp())
                    pipeline.hsetnx(schedule_key(name), "created_at", str(now.timestamp()))
                    if not (before and before.paused):
                        set_next(pipeline, name, schedule.next_time(now, now))
                    pipeline.execute()
                    break
                except WatchError:
                    continue
        return self.get(name), before is None

    def get(self, name: str) -> StoredSchedule:
        """Return the schedule of this name. Raises `UnknownSchedule`."""
        schedule = self.find(name)
        if schedule is None:
            raise UnknownSchedule(name)
        return schedule

    def find(self, name: str) -> StoredSchedule | None:
        """Return the schedule of this name; None if there is none, or none that can be read."""
        with redis_errors():
            stored: Any = self._connection.hgetall(schedule_key(name))
        return _readable(name, stored)

    def all(self) -> list[StoredSchedule]:
        """Return all schedules that can be read, sorted by name."""
        with redis_errors():
            members: Any = self._connection.zrange(SCHEDULES, 0, MAX_SCHEDULES)
            names = sorted(decoded(member) for member in members)
            with self._connection.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.hgetall(schedule_key(name))
                hashes = pipeline.execute(raise_on_error=False)  # of a key of another type
        found = (_readable(name, stored) for name, stored in zip(names, hashes, strict=True))
        return [stored for stored in found if stored]

    def delete(self, name: str) -> None:
        """Delete a schedule; tasks that it has queued stay. Raises `UnknownSchedule`."""
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.delete(schedule_key(name))
            pipeline.zrem(SCHEDULES, name)
            if not pipeline.execute()[0]:
                raise UnknownSchedule(name)

    def pause(self, name: str) -> StoredSchedule:
        """Stop the runs of a schedule until `resume`. Raises `UnknownSchedule`."""
        if not self.get(name).paused:
            with redis_errors(), self._connection.pipeline() as pipeline:
                pipeline.hdel(schedule_key(name), "next_run")
                pipeline.zadd(SCHEDULES, {name: "+inf"}, xx=True)
                pipeline.execute()
        return self.get(name)

    def resume(self, name: str) -> StoredSchedule:
        """Let a paused schedule run again; times that passed meanwhile are lost. Raises `UnknownSchedule`."""
        stored = self.get(name)
        if stored.paused:
            with redis_errors(), self._connection.pipeline() as pipeline:
                set_next(pipeline, name, stored.schedule.next_time(datetime.now(UTC), stored.updated_at))
                pipeline.execute()
        return self.get(name)

    def run(self, name: str) -> Task:
        """Queue a schedule's task now, besides its times. Raises `UnknownSchedule`, and what submitting raises."""
        run = submission(self._submissions, self._job_types, name, self.get(name).schedule)
        task = self._submissions.submit(run).task
        with suppress(RedisError):  # the task is queued, whatever becomes of this note
            self._connection.hset(schedule_key(name), mapping=ran(task))
        return task


def submission(submissions: Submissions, job_types: JobTypes, name: str, schedule: Schedule) -> Submission:
    """Return the task of one run of a schedule, ready to be sent; it has the tag schedule:<name>.

    Raises what submitting the task raises; an error's pointers refer to the schedule's document.
    """
    options = schedule.options
    tagged = options.model_copy(update={"tags": (*options.tags, f"schedule:{name}")})
    try:
        return submissions.prepare(job_types.find(schedule.task_type), schedule.payload, tagged)
    except InvalidPayload as error:
        raise error.inside("/payload") from None


def ran(task: Task) -> dict[Any, Any]:
    """Return the fields of a schedule that say when it ran last, and the id of that run's task."""
    return {"last_run": str(task.created_at.timestamp()), "last_task": task.id}


def set_next(pipeline: Any, name: str, next_run: datetime) -> None:
    """Set when a schedule is due next."""
    pipeline.hset(schedule_key(name), "next_run", next_run.timestamp())
    pipeline.zadd(SCHEDULES, {name: next_run.timestamp()})


def read(name: str, stored: dict[bytes, bytes]) -> StoredSchedule:
    """Return a schedule from its hash. Raises ValueError, KeyError for a hash that cannot be read."""

    def time(field: bytes) -> datetime | None:
        return datetime.fromtimestamp(float(stored[field]), UTC) if field in stored else None

    def text(field: bytes) -> str | None:
        return stored[field].decode() if stored.get(field) else None

    never = datetime.fromtimestamp(0, UTC)
    return StoredSchedule(
        name=name,
        schedule=Schedule.model_validate_json(stored[b"schedule"]),
        created_at=time(b"created_at") or never,
        updated_at=time(b"updated_at") or never,
        next_run=time(b"next_run"),
        last_run=time(b"last_run"),
        last_task=text(b"last_task"),
        runs=int(stored.get(b"runs", 0)),
        skipped=int(stored.get(b"skipped", 0)),
        error=text(b"error"),
    )


def _readable(name: str, stored: Any) -> StoredSchedule | None:
    """Return a schedule from what Redis answered; None if that is nothing, or what another program wrote."""
    if not stored:
        return None
    try:
        if isinstance(stored, Exception):
            raise stored
        return read(name, stored)
    except (ValueError, KeyError, OverflowError, OSError, ResponseError) as error:
        log.warning("Schedule %s cannot be read: save it again or delete it (%r)", name, error)
        return None


def shown_payload(job_types: JobTypes, schedule: Schedule) -> Json:
    """Return the payload of a schedule's task, with secrets masked; None if its type is unknown."""
    job_type = job_types.get(schedule.task_type)
    return job_type.shown(schedule.payload) if job_type else None
