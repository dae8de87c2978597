"""Queues the tasks of schedules that are due: each once, however many workers look."""

import logging
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, WatchError
from rq.job import JobStatus

from taskqueue.control.operations import Operations
from taskqueue.enqueue.schedule_store import StoredSchedule, ran, read, set_next, submission
from taskqueue.enqueue.submission import Submission, Submissions
from taskqueue.errors import TaskQueueError
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.keys import ENDED, SCHEDULES, STATUSES, decoded, job_key, schedule_key
from taskqueue.telemetry.log import about
from taskqueue.worker.wrong_types import is_wrong_type

log = logging.getLogger(__name__)

MAX_DUE = 100  # schedules in one run


class ScheduleRunner:
    """A chore of the scheduling worker, once a second."""

    def __init__(self, connection: Redis, settings: Settings, job_types: JobTypes) -> None:
        self._connection = connection
        self._submissions = Submissions(connection, settings)
        self._operations = Operations(connection, settings.failure_ttl_seconds)
        self._job_types = job_types

    def run(self) -> None:
        """Queue the tasks of all schedules that are due. Raises the driver's errors."""
        now = datetime.now(UTC)
        names: Any = self._connection.zrangebyscore(SCHEDULES, "-inf", now.timestamp(), 0, MAX_DUE)
        for name in names:
            self._run_schedule(name, now)

    def _run_schedule(self, member: bytes, now: datetime) -> None:
        """Run one schedule in one transaction, unless another worker, or a change of the schedule, comes first."""
        name = decoded(member)
        with self._connection.pipeline() as pipeline:
            try:
                pipeline.watch(schedule_key(name))
                fields: Any = pipeline.hgetall(schedule_key(name))
                if not fields:
                    self._connection.zrem(SCHEDULES, member)
                    return
                stored = read(name, fields)
                if stored.next_run is None or stored.next_run > now:
                    return
                times = stored.schedule.due_times(stored.next_run, now, stored.updated_at)
                runs, error = self._runs(stored, len(times))
                pipeline.multi()
                self._write(pipeline, stored, runs, skipped=max(len(times), 1) - len(runs), error=error)
                set_next(pipeline, name, stored.schedule.next_time(now, stored.updated_at))
                pipeline.execute()
            except WatchError:
                return
            except Exception as error:  # another version, or another program, wrote it
                if isinstance(error, RedisError) and not is_wrong_type(error):
                    raise
                log.exception("Schedule %s cannot be read, and is paused: save it again or delete it", name)
                self._connection.zadd(SCHEDULES, {member: "+inf"})
                return
        for run in runs:
            log.info("Schedule %s: task %s is queued", name, run.id, extra=about(run.id))

    def _runs(self, stored: StoredSchedule, times: int) -> tuple[list[Submission], str]:
        """Return the tasks to queue for so many due times, and the error if there is one."""
        overlap = stored.schedule.overlap
        wanted = times if overlap == "queue" else min(times, 1)
        if wanted and stored.last_task and overlap != "queue" and self._runs_still(stored.last_task):
            if overlap == "skip":
                return [], ""
            self._cancel(stored.last_task)
        try:
            make = (self._submissions, self._job_types, stored.name, stored.schedule)
            return [submission(*make) for _ in range(wanted)], ""
        except TaskQueueError as error:  # its job type has changed, or is gone
            log.warning("Schedule %s cannot run: %s", stored.name, error)
            return [], str(error)

    def _write(
        self, pipeline: Pipeline, stored: StoredSchedule, runs: list[Submission], *, skipped: int, error: str
    ) -> None:
        key = schedule_key(stored.name)
        for run in runs:
            self._submissions.add_to(pipeline, run)
        if runs:
            pipeline.hset(key, mapping=ran(runs[-1].task))
            pipeline.hincrby(key, "runs", len(runs))
        if skipped:
            pipeline.hincrby(key, "skipped", skipped)
        pipeline.hset(key, "error", error)

    def _runs_still(self, task_id: str) -> bool:
        status: Any = self._connection.hget(job_key(task_id), "status")
        return status is not None and STATUSES[JobStatus(status.decode())] not in ENDED

    def _cancel(self, task_id: str) -> None:
        """Cancel a task, or stop it if it runs; one that has ended meanwhile is no error."""
        try:
            self._operations.cancel(task_id)
        except TaskQueueError as error:
            log.info("Task %s is not canceled: %s", task_id, error, extra=about(task_id))
