"""The task queue of a test: `submit` runs jobs at once; assertions; travel through time."""

import asyncio
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from fakeredis import FakeRedis
from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.direct.by_redis import ByRedis, replace_current
from taskqueue.direct.handle import TaskHandle
from taskqueue.direct.job_function import JobFunction
from taskqueue.enqueue.batch_draft import BatchDraft, Queued
from taskqueue.enqueue.schedule_store import Schedules
from taskqueue.enqueue.submission import Submission
from taskqueue.jobtypes.registry import JobType, registered
from taskqueue.run.context import send_progress_by
from taskqueue.settings import Settings
from taskqueue.settings.process import set_process
from taskqueue.store.keys import SCHEDULES, decoded, registry_key, type_index_key
from taskqueue.tasks.running import current_task
from taskqueue.tasks.task import Task
from taskqueue.testing.inline_work import InlineWork

KEPT_SECONDS = 10 * 366 * 86_400  # a test that travels far still sees what it has submitted


class InlineQueue:
    """A task queue in this process, whose jobs run as soon as they are submitted."""

    def __init__(self, by_redis: "_Inline") -> None:
        self._by_redis = by_redis
        self._travel: time_machine.travel | None = None
        self._clock: Any = None
        self.connection: Redis = by_redis.connection
        """The Redis in this process."""
        self.settings: Settings = by_redis.settings
        self.schedules = Schedules(self.connection, by_redis.queue.submissions, registered)
        """The schedules, to `put` some: `travel` runs those that are due."""

    def submitted(self, job: "JobFunction[..., Any] | str", **fields: Any) -> list[TaskHandle[Any]]:
        """Return the tasks of a job that were submitted in this test, oldest first.

        job: The function, or the name of its job type.
        fields: Only the tasks whose payload has these values, given as Python values as to `submit`.

        Raises `UnknownJobType`; TypeError for a field that the job does not have.
        """
        job_type = registered.find(job) if isinstance(job, str) else job.job_type
        expected = job_type.payload((), fields)
        known = job_type.signature.schema
        if not known.get("additionalProperties") and (unknown := expected.keys() - known["properties"].keys()):
            raise TypeError(f"{job_type.name} has no field {', '.join(sorted(unknown))}")
        return [
            self._by_redis.handle(task_id, job_type)
            for task_id, payload in self._payloads(job_type)
            if expected.items() <= payload.items()
        ]

    def assert_submitted(self, job: "JobFunction[..., Any] | str", **fields: Any) -> TaskHandle[Any]:
        """Assert that a task was submitted with these fields, as `submitted` finds it; return the first one."""
        __tracebackhide__ = True
        found = self.submitted(job, **fields)
        if found:
            return found[0]
        job_type = registered.find(job) if isinstance(job, str) else job.job_type
        wanted = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        others = [str(job_type.shown(payload)) for _, payload in self._payloads(job_type)]
        listed = "".join(f"\n  {payload}" for payload in others) or " none"
        raise AssertionError(f"no task was submitted: {job_type.name}({wanted})\n{job_type.name} tasks:{listed}")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Only queue what is submitted inside the `with` block, and run it at its end."""
        self._by_redis.is_held = True
        try:
            yield
        finally:
            self._by_redis.is_held = False
        self.work()

    def work(self) -> None:
        """Run what is queued, for example after a change of Redis by hand."""
        self._by_redis.work.run()

    def travel(self, by: timedelta | None = None, /, **parts: float) -> None:
        """Let time pass: `travel(hours=1)`. What is due meanwhile runs in its order, at its time.

        `time.time()`, `datetime.now()` and Redis's clock go along. by: how far; parts: as of `timedelta`.
        """
        self.travel_to(datetime.now(UTC) + (by or timedelta(**parts)))

    def travel_to(self, target: datetime) -> None:
        """Let time pass until `target`, which must have a time zone. What is due meanwhile runs at its time."""
        end = target.timestamp()
        while (due := self._next_due()) <= end + 0.001:  # Redis keeps milliseconds
            self._move_to(max(math.ceil(due), datetime.now(UTC).timestamp()))  # Redis moves what is due by seconds
            before = self._next_due()
            self.work()
            if self._next_due() == before:
                break  # its queue is paused, or its job type is gone
        self._move_to(max(end, datetime.now(UTC).timestamp()))
        self.work()

    def close(self) -> None:
        """Go back to the present, and end the hooks of the process."""
        self._by_redis.work.close()
        if self._travel:
            self._travel.stop()

    def _move_to(self, at: float) -> None:
        if self._clock is None:
            self._travel = time_machine.travel(datetime.fromtimestamp(at, UTC))
            self._clock = self._travel.start()
        else:
            self._clock.move_to(at)

    def _next_due(self) -> float:
        """Return when something is due next, in seconds since 1970; infinity: never."""
        keys = [SCHEDULES, *(registry_key("scheduled", queue) for queue in self.settings.queues)]
        first: list[Any] = [self.connection.zrange(key, 0, 0, withscores=True) for key in keys]
        return min((score for members in first for _, score in members), default=math.inf)

    def _payloads(self, job_type: JobType) -> Iterator[tuple[str, dict[str, Any]]]:
        ids: Any = self.connection.zrange(type_index_key(job_type.name), 0, -1)
        for task_id in map(decoded, ids):
            with suppress(NoSuchJobError):  # the test has deleted it
                yield task_id, Job.fetch(task_id, self.connection, JSONSerializer).kwargs


class _Inline(ByRedis):
    """Submits tasks to the Redis in this process, and runs them at once."""

    is_held = False

    def __init__(self, connection: Redis, settings: Settings) -> None:
        super().__init__(connection, settings)
        self.work = InlineWork(connection, settings)

    def sent(self, submission: Submission) -> TaskHandle[Any]:
        handle = super().sent(submission)
        self._run()
        return handle

    def submit_batch(self, draft: BatchDraft) -> Queued:
        queued = super().submit_batch(draft)
        self._run()
        return queued

    def wait(self, task_id: str, seconds: float | None) -> Task:
        """Return the task as it is when all that can run has run: nothing else could end it."""
        self.work.run()
        return self.get(task_id)

    async def await_end(self, task_id: str, seconds: float | None) -> Task:
        return await asyncio.to_thread(self.wait, task_id, seconds)

    def _run(self) -> None:
        if not self.is_held and current_task() is None:  # what a job submits runs after the job
            self.work.run()


@contextmanager
def inline_queue() -> Iterator[InlineQueue]:
    """Put a queue in this process in the place of Redis, for this process, inside the `with` block."""
    settings = replace(
        Settings.read(os.environ), result_ttl_seconds=KEPT_SECONDS, failure_ttl_seconds=KEPT_SECONDS
    )
    connection = FakeRedis()
    by_redis = _Inline(connection, settings)
    queue = InlineQueue(by_redis)
    set_process(settings, connection)
    replace_current(by_redis)
    try:
        yield queue
    finally:
        replace_current(None)
        set_process(None, None)
        send_progress_by(None)
        queue.close()
