"""Schedules in Redis: store, list, pause, run by hand. The workers fire what is due."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import WatchError

from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.submission import Submission, Submissions, accepted
from taskqueue.errors import InvalidPayload, InvalidScheduleName, TooManySchedules, UnknownSchedule
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.signature import Json
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import SCHEDULES, schedule_key
from taskqueue.tasks.task import Task

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
MAX_SCHEDULES = 1000


@dataclass(frozen=True)
class StoredSchedule:
    """A schedule as it stands in Redis."""

    name: str
    schedule: Schedule
    created_at: datetime
    updated_at: datetime  # intervals are counted from here
    next_run: datetime | None  # None: it is paused
    last_run: datetime | None
    last_task: str | None
    runs: int
    skipped: int  # times that passed without a run: missed, or the run before had not ended
    error: str | None  # why the last time passed without a run, where that is an error

    @property
    def paused(self) -> bool:
        """Whether it waits for somebody to resume it."""
        return self.next_run is None


class Schedules:
    """The schedules of one Redis."""

    def __init__(self, connection: Redis, submissions: Submissions, job_types: JobTypes) -> None:
        self._connection = connection
        self._submissions = submissions
        self._job_types = job_types

    def put(self, name: str, schedule: Schedule) -> tuple[StoredSchedule, bool]:
        """Keep a schedule under a name; and whether it is new. The same one again changes nothing.

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
                    before = read(name, stored) if stored else None
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
        """The schedule of this name. Raises `UnknownSchedule`."""
        found = self.find(name)
        if found is None:
            raise UnknownSchedule(name)
        return found

    def find(self, name: str) -> StoredSchedule | None:
        """The schedule of this name, if there is one."""
        with redis_errors():
            stored: Any = self._connection.hgetall(schedule_key(name))
        return read(name, stored) if stored else None

    def all(self) -> list[StoredSchedule]:
        """All of them, by name."""
        with redis_errors():
            found: Any = self._connection.zrange(SCHEDULES, 0, MAX_SCHEDULES)
            names = sorted(one.decode() for one in found)
            with self._connection.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.hgetall(schedule_key(name))
                return [read(name, one) for name, one in zip(names, pipeline.execute(), strict=True) if one]

    def delete(self, name: str) -> None:
        """Forget it; tasks that it has queued stay. Raises `UnknownSchedule`."""
        with redis_errors(), self._connection.pipeline() as pipeline:
            pipeline.delete(schedule_key(name))
            pipeline.zrem(SCHEDULES, name)
            if not pipeline.execute()[0]:
                raise UnknownSchedule(name)

    def pause(self, name: str) -> StoredSchedule:
        """No more runs, until `resume`. Raises `UnknownSchedule`."""
        if not self.get(name).paused:
            with redis_errors(), self._connection.pipeline() as pipeline:
                pipeline.hdel(schedule_key(name), "next_run")
                pipeline.zadd(SCHEDULES, {name: "+inf"}, xx=True)
                pipeline.execute()
        return self.get(name)

    def resume(self, name: str) -> StoredSchedule:
        """Go on; what was due meanwhile is not made up for. Raises `UnknownSchedule`."""
        kept = self.get(name)
        if kept.paused:
            with redis_errors(), self._connection.pipeline() as pipeline:
                set_next(pipeline, name, kept.schedule.next_time(datetime.now(UTC), kept.updated_at))
                pipeline.execute()
        return self.get(name)

    def run(self, name: str) -> Task:
        """Queue its task now, besides its times. Raises `UnknownSchedule`, and what submitting raises."""
        made = submission(self._submissions, self._job_types, name, self.get(name).schedule)
        with redis_errors(made.task.id):
            task = accepted(made, self._submissions.send(made)).task
            self._connection.hset(schedule_key(name), mapping=ran(task))
        return task


def submission(submissions: Submissions, job_types: JobTypes, name: str, schedule: Schedule) -> Submission:
    """One run of a schedule; it has the tag schedule:<name>.

    Raises what submitting its task raises; pointers are those of the schedule's document.
    """
    options = schedule.options
    tagged = options.model_copy(update={"tags": (*options.tags, f"schedule:{name}")})
    try:
        return submissions.prepare(job_types.find(schedule.task_type), schedule.payload, tagged)
    except InvalidPayload as error:
        raise error.inside("/payload") from None


def ran(task: Task) -> dict[Any, Any]:
    """What is kept of the last run."""
    return {"last_run": str(task.created_at.timestamp()), "last_task": task.id}


def set_next(pipeline: Any, name: str, moment: datetime) -> None:
    """When it is due next."""
    pipeline.hset(schedule_key(name), "next_run", moment.timestamp())
    pipeline.zadd(SCHEDULES, {name: moment.timestamp()})


def read(name: str, stored: dict[bytes, bytes]) -> StoredSchedule:
    """A schedule from its hash."""

    def moment(field: bytes) -> datetime | None:
        return datetime.fromtimestamp(float(stored[field]), UTC) if field in stored else None

    def text(field: bytes) -> str | None:
        return stored[field].decode() if stored.get(field) else None

    never = datetime.fromtimestamp(0, UTC)
    return StoredSchedule(
        name=name,
        schedule=Schedule.model_validate_json(stored[b"schedule"]),
        created_at=moment(b"created_at") or never,
        updated_at=moment(b"updated_at") or never,
        next_run=moment(b"next_run"),
        last_run=moment(b"last_run"),
        last_task=text(b"last_task"),
        runs=int(stored.get(b"runs", 0)),
        skipped=int(stored.get(b"skipped", 0)),
        error=text(b"error"),
    )


def shown_payload(job_types: JobTypes, schedule: Schedule) -> Json:
    """Its payload, with what is secret masked."""
    job_type = job_types.get(schedule.task_type)
    return job_type.shown(schedule.payload) if job_type else schedule.payload
