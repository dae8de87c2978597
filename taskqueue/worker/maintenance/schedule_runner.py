"""Fires the schedules that are due: each time once, however many workers look."""

import logging
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq.job import JobStatus

from taskqueue.control.operations import Operations
from taskqueue.enqueue.schedule_store import StoredSchedule, ran, read, set_next, submission
from taskqueue.enqueue.submission import Submission, Submissions
from taskqueue.errors import TaskQueueError
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.keys import ENDED, SCHEDULES, STATUSES, job_key, schedule_key

log = logging.getLogger(__name__)

MAX_DUE = 100  # schedules in one go


class ScheduleRunner:
    """For whoever keeps order in Redis."""

    def __init__(self, connection: Redis, settings: Settings, job_types: JobTypes) -> None:
        self._connection = connection
        self._submissions = Submissions(connection, settings)
        self._operations = Operations(connection, settings.failure_ttl_seconds)
        self._job_types = job_types

    def run(self) -> None:
        """Queue the tasks of all schedules that are due."""
        now = datetime.now(UTC)
        due: Any = self._connection.zrangebyscore(SCHEDULES, "-inf", now.timestamp(), 0, MAX_DUE)
        for name in due:
            self._fire(name.decode(), now)

    def _fire(self, name: str, now: datetime) -> None:
        """One schedule, in one transaction: it is dropped where another worker, or a change, came in between."""
        with self._connection.pipeline() as pipeline:
            try:
                pipeline.watch(schedule_key(name))
                stored: Any = pipeline.hgetall(schedule_key(name))
                if not stored:
                    self._connection.zrem(SCHEDULES, name)
                    return
                kept = read(name, stored)
                if kept.next_run is None or kept.next_run > now:
                    return
                times = kept.schedule.due_times(kept.next_run, now, kept.updated_at)
                runs, error = self._runs(kept, len(times))
                pipeline.multi()
                self._write(pipeline, kept, runs, skipped=max(len(times), 1) - len(runs), error=error)
                set_next(pipeline, name, kept.schedule.next_time(now, kept.updated_at))
                pipeline.execute()
            except WatchError:
                return
            except (ValueError, KeyError):  # another version, or another program, wrote it
                log.exception("Schedule %s cannot be read, and is paused", name)
                self._connection.zadd(SCHEDULES, {name: "+inf"})
                return
        for run in runs:
            log.info("Schedule %s: task %s is queued", name, run.task.id)

    def _runs(self, kept: StoredSchedule, times: int) -> tuple[list[Submission], str]:
        """The tasks to queue for so many times; and why there are none, where that is an error."""
        wanted = times if kept.schedule.overlap == "queue" else min(times, 1)
        if wanted and kept.last_task and kept.schedule.overlap != "queue" and self._goes_on(kept.last_task):
            if kept.schedule.overlap == "skip":
                return [], ""
            self._end(kept.last_task)
        try:
            make = (self._submissions, self._job_types, kept.name, kept.schedule)
            return [submission(*make) for _ in range(wanted)], ""
        except TaskQueueError as error:  # its job type has changed, or is gone
            log.warning("Schedule %s cannot run: %s", kept.name, error)
            return [], str(error)

    def _write(
        self, pipeline: Pipeline, kept: StoredSchedule, runs: list[Submission], *, skipped: int, error: str
    ) -> None:
        key = schedule_key(kept.name)
        for run in runs:
            self._submissions.send(run, pipeline)
        if runs:
            pipeline.hset(key, mapping=ran(runs[-1].task))
            pipeline.hincrby(key, "runs", len(runs))
        if skipped:
            pipeline.hincrby(key, "skipped", skipped)
        pipeline.hset(key, "error", error)

    def _goes_on(self, task_id: str) -> bool:
        status: Any = self._connection.hget(job_key(task_id), "status")
        return status is not None and STATUSES[JobStatus(status.decode())] not in ENDED

    def _end(self, task_id: str) -> None:
        """Cancel a run, or stop it if it has begun. That it has ended meanwhile is as good."""
        try:
            self._operations.cancel(task_id)
        except TaskQueueError as error:
            log.info("Task %s is not canceled: %s", task_id, error)
