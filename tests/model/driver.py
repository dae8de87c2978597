"""The engine as clients, operators and RQ's own tools call it: the model's test calls all of it from here.

processes.py, groups.py, io_process.py and worker.py play workers without any process that runs jobs: they call
what the processes of a worker call. Where the engine changes how it is called, change only these files.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Dependency, Job
from rq.registry import clean_registries
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.batch import Batch, Batches
from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.enqueue.options import SubmitOptions, TaskSpec
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_store import Schedules
from taskqueue.enqueue.submission import accepted
from taskqueue.errors import TaskQueueError
from taskqueue.jobtypes.limits import Limits, declare
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.jobtypes.retry import RetryDelays
from taskqueue.settings import Settings
from taskqueue.worker import settle_and_claim
from taskqueue.worker.maintenance.batch_finisher import BatchFinisher
from taskqueue.worker.maintenance.due_mover import DueMover
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.maintenance.missed_callbacks import MissedCallbacks
from taskqueue.worker.maintenance.schedule_runner import ScheduleRunner

QUEUES = ("high", "default", "low")  # the most important first
RETRY_SECONDS = 3600
LIMITED = {"single": Limits(concurrency=1), "pair": Limits(concurrency=2), "hourly": Limits(rate="2/hour")}
IO_TYPES = ("mail", "letter")  # the jobs of these types are for the I/O process, where there is one
IO_LIMITED = {"letter": Limits(concurrency=2)}
LONG_AGO = 1_000_000_000  # seconds since 1970
PAST = -7200.0  # seconds from now
LEASE_SECONDS = 1000  # a lease runs out only where a rule says so, however slow the machine is

SHORT = {"plain": 600, "patient": 2000}  # microseconds: the types whose jobs may be claimed in groups
MOST_IN_GROUP = 8


def job_types(known: JobTypes) -> JobTypes:
    """Return the job types of the model: they are never run here, so one function serves all."""
    types = JobTypes()
    at_once, later = RetryDelays(first=0, longest=0), RetryDelays(first=RETRY_SECONDS, longest=RETRY_SECONDS)
    for name in ("plain", "patient", *LIMITED, *IO_TYPES):
        limits, delays = (LIMITED | IO_LIMITED).get(name, Limits()), later if name == "patient" else at_once
        types.add(replace(
            known["generic"], name=name, attempts=1, retry_delays=delays, limits=limits, io_bound=name in IO_TYPES
        ))  # fmt: skip
    return types


class Engine:
    """The engine as clients, operators and RQ's tools see it."""

    def __init__(self, redis: Redis, url: str, types: JobTypes) -> None:
        self.redis, self.url, self.types = redis, url, types
        self.chance = Random()  # for all ids, so that an example is the same each time that it is played
        # Else the first call of all would take another way than the same call later.
        redis.script_load(settle_and_claim.SCRIPT)
        self.settings = Settings(redis_url=url, queues=QUEUES)
        self._queue = TaskQueue(redis, self.settings, types)
        self._batches = Batches(redis, self._queue.submissions, types)
        self._operations = Operations(redis, self.settings.failure_ttl_seconds)
        self._pauses = Pauses(redis, self.settings)
        self._types = TypeControl(redis, types)
        self._schedules = Schedules(redis, self._queue.submissions, types)
        self._rq_queues = [self._rq_queue(name) for name in QUEUES]
        self.chores: dict[str, Callable[[], object]] = {
            "schedules": ScheduleRunner(redis, self.settings, types).run,
            "batches": BatchFinisher(redis, self.settings.result_ttl_seconds).run,
            "callbacks": MissedCallbacks(redis).run,
            "limits": LimitReleaser(redis).run,
            "due": DueMover(redis, self._rq_queues).run,
        }

    def begin(self) -> None:
        """Begin with an empty Redis."""
        self.chance.seed(0)
        self.redis.flushall()
        declare(self.redis, self.types)

    # Clients

    def submit(self, job_type: str, options: SubmitOptions, key: str = "", times: int = 1) -> tuple[str, str]:
        """Submit one task, sent so many times because its answer was lost; return outcome and id."""
        idempotency = IdempotencyKey.of(key, b"", f"{job_type} {options}") if key else None
        submission = self._queue.submissions.prepare(self.types[job_type], {}, options, idempotency=idempotency)
        answers = [accepted(submission, self._queue.submissions.send(submission)) for _ in range(times)]
        assert len({answer.task.id for answer in answers}) == 1, "a call that was sent again names another task"
        return answers[0].outcome, answers[0].task.id

    def submit_batch(self, items: list[dict[str, Any]], on_complete: str = "") -> tuple[str, list[str], str]:
        """Submit a batch; return its id, the ids of its tasks, and that of the task at its end or ""."""
        draft = self._batches.prepare(items, on_complete=TaskSpec(task_type=on_complete) if on_complete else None)
        queued = self._batches.submit(draft)
        return queued.batch_id, [str(result) for result in queued.results], queued.on_complete or ""

    def batch(self, batch_id: str) -> Batch:
        """Return a batch as it is shown."""
        return self._batches.get(batch_id)

    def cancel(self, job_id: str) -> str:
        """Cancel a task; return "canceled", "stopping" or "refused"."""
        return self._answer(lambda: self._operations.cancel(job_id))

    def requeue(self, job_id: str) -> str:
        """Requeue a task; return "done" or "refused"."""
        return self._answer(lambda: self._operations.requeue(job_id))

    def delete(self, job_id: str) -> str:
        """Delete a task; return "done" or "refused"."""
        return self._answer(lambda: self._operations.delete(job_id))

    @staticmethod
    def _answer(act: Callable[[], str | None]) -> str:
        try:
            return act() or "done"
        except TaskQueueError:
            return "refused"

    def pause(self, queue: str) -> None:
        """Pause a queue."""
        self._pauses.pause(queue)

    def resume(self, queue: str) -> None:
        """Resume a queue."""
        self._pauses.resume(queue)

    def pause_type(self, job_type: str) -> None:
        """Pause a job type."""
        self._types.pause(job_type)

    def resume_type(self, job_type: str) -> None:
        """Resume a job type."""
        self._types.resume(job_type)

    def change_limits(self, job_type: str, concurrency: int | None) -> None:
        """Change the limits of a job type; None: no limit."""
        self._types.change(job_type, Limits(concurrency=concurrency))

    def reset_limits(self, job_type: str) -> None:
        """Let the limits of the code hold again."""
        self._types.reset(job_type)

    def start_worker_code(self) -> None:
        """Do what each worker does with the limits when it starts."""
        declare(self.redis, self.types)

    def put_schedule(self, name: str) -> None:
        """Store a schedule of plain tasks."""
        self._schedules.put(name, Schedule(task_type="plain", interval=RETRY_SECONDS))

    def last_task(self, schedule: str) -> str | None:
        """Return the id of a schedule's latest task."""
        return self._schedules.get(schedule).last_task

    # RQ's own code

    def _rq_queue(self, name: str) -> Queue:
        return Queue(name, connection=self.redis, serializer=JSONSerializer)

    def rq_fetch(self, job_id: str) -> Job:
        """Read a job by RQ's own class. Raises what a malformed job makes RQ raise."""
        job = Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        job.get_executions()
        job.results()
        return job

    def rq_enqueue(
        self, queue: str, retries: int, parent: str = "", allow_failure: bool = False, job_type: str = "generic"
    ) -> str:
        """Enqueue a job by RQ's own code; return its id."""
        depends_on = Dependency([self.rq_fetch(parent)], allow_failure=allow_failure) if parent else None
        retry = Retry(retries) if retries else None
        job = self._rq_queue(queue).enqueue(f"taskqueue.call.{job_type}", retry=retry, depends_on=depends_on)
        return str(job.id)

    def rq_cancel(self, job_id: str) -> None:
        """Cancel a job by RQ's own code."""
        self.rq_fetch(job_id).cancel()

    def rq_requeue(self, job_id: str) -> None:
        """Requeue a failed job by RQ's own code."""
        self.rq_fetch(job_id).requeue()

    def rq_delete(self, job_id: str) -> None:
        """Delete a job by RQ's own code."""
        self.rq_fetch(job_id).delete()

    def rq_clean(self) -> None:
        """Clean all registries, as a stock `rq worker` does when it starts and every few minutes."""
        for queue in self._rq_queues:
            clean_registries(queue)
        SimpleWorker.all(connection=self.redis)

    def rq_suspend(self, holds: bool) -> None:
        """Suspend all workers, or let them go on."""
        suspend(self.redis) if holds else resume(self.redis)

    # Time passes: nobody sleeps, the stored times are moved instead

    def make_due(self, job_id: str, queue: str) -> None:
        """Let a scheduled job's time come."""
        self.redis.zadd(f"rq:scheduled:{queue}", {job_id: time.time() + PAST}, xx=True)

    def make_callbacks_due(self) -> None:
        """Let the time come at which the scheduling worker looks for missed callbacks again."""
        for job_id in self.redis.zrange("tq:callbacks:owed", 0, -1):
            self.redis.zadd("tq:callbacks:owed", {job_id: time.time() + PAST}, xx=True)

    def make_schedule_due(self, name: str) -> None:
        """Let a schedule be due: a second ago."""
        due = time.time() - 1
        self.redis.hset(f"tq:schedule:{name}", mapping={"next_run": due, "updated_at": due - RETRY_SECONDS})
        self.redis.zadd("tq:schedules", {name: due})

    def expire(self, job_id: str) -> None:
        """Let the time pass until which a task may begin."""
        self.redis.hset(f"rq:job:{job_id}", "tq:expires_at", f"{time.time() + PAST:.3f}")

    def pass_window(self, job_type: str) -> None:
        """Let the period of a rate limit pass."""
        self.redis.delete(f"tq:limit:{job_type}:starts")

    def run_out(self, queue: str, member: str) -> None:
        """Let a lease run out. Those of one claim have the same end."""
        self.redis.zadd(f"rq:wip:{queue}", {member: LONG_AGO}, xx=True)

    def forget(self, job_id: str) -> None:
        """Let the time pass for which an ended job is kept."""
        key = f"rq:job:{job_id}"
        self.redis.delete(key, f"rq:results:{job_id}", f"tq:logs:{job_id}", f"{key}:dependents")
