"""The worker: RQ's own, which runs registered job types only, keeps every attempt's error, and tells the story.

Its log has the life of each job in three kinds of lines:

    Processing email task 5c1f…
    Task 5c1f… complete in 0.42 s
    Task 5c1f… failed (attempt 1 of 5): ConnectionRefusedError: …; next attempt in 3 s
"""

import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

from redis import Redis
from redis.client import Pipeline
from rq import Worker as RQWorker
from rq.executions import Execution
from rq.job import Job
from rq.job_lifecycle import call_exception_handlers
from rq.queue import Queue
from rq.registry import StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from taskqueue import fields
from taskqueue.call import job_type_name, registered_call
from taskqueue.errors import PermanentFailure
from taskqueue.settings import Settings
from taskqueue.task import error_of

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5  # RQ gives a running job up one minute after its last heartbeat
WORKER_TTL_SECONDS = 30  # an idle worker that was not heard of for this long, and a minute, is forgotten
MAINTENANCE_SECONDS = 30  # how often jobs of dead workers, and a dead scheduler, are looked for
SAID_IN_FULL = {PermanentFailure.__name__} | {kind.__name__ for kind in PermanentFailure.__subclasses__()}
"""Errors that a job raised in its own words: the log needs no traceback of them."""
MAX_REASON_CHARACTERS = 300  # of an error's message in the log; the task itself has all of it


class RegisteredJob(Job):
    """An RQ job that can only call a registered job type, whatever was written to Redis."""

    attempt: int = 0  # runs begun so far
    attempts: int = 1  # runs allowed

    @property
    def func(self) -> Callable[..., Any]:
        """The job type's function. Raises `UnknownJobType` for any other name."""
        if self.instance is not None:
            raise PermanentFailure("This job calls a method of an object; only job types are run.")
        for callback in (
            self._success_callback_name,
            self._failure_callback_name,
            self._stopped_callback_name,
        ):
            if callback:
                self._refuse_callback(callback)
        return registered_call(self.func_name or "")

    # RQ would import whatever function a job's hash names as its callback.
    @property
    def success_callback(self) -> None:
        """Always None: see `func`, which refuses a job that has callbacks."""

    @property
    def failure_callback(self) -> None:
        """Always None, as `success_callback`."""

    @property
    def stopped_callback(self) -> None:
        """Always None, as `success_callback`."""

    @staticmethod
    def _refuse_callback(name: str) -> NoReturn:
        raise PermanentFailure(f"This job has the callback {name!r}; only job types are run.")

    @property
    def runs(self) -> str:
        """Which attempt this is, in words: "attempt 2 of 5"."""
        return f"attempt {self.attempt} of {max(self.attempts, self.attempt)}"

    @property
    def type_name(self) -> str:
        """Its job type, for the log; "unreadable" where its data is no JSON job."""
        try:
            return job_type_name(self.func_name or "")
        except Exception:  # noqa: BLE001  another program may have written anything; the log line must not fail
            return "unreadable"

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Read the job from its hash; ours has the attempts besides."""
        super().restore(raw_data)
        self.attempt = int(raw_data.get(fields.ATTEMPT.encode(), 0))
        self.attempts = int(raw_data.get(fields.ATTEMPTS.encode(), 1 + (self.retries_left or 0)))

    def prepare_for_execution(self, worker_name: str, pipeline: Pipeline) -> None:
        """Count the attempt, in the same transaction that marks the job as started."""
        super().prepare_for_execution(worker_name, pipeline)
        self.attempt += 1
        pipeline.hincrby(self.key, fields.ATTEMPT, 1)
        pipeline.hdel(self.key, fields.PROGRESS)


class Worker(RQWorker):
    """RQ's worker with JSON, registered job types, and our log."""

    job_class = RegisteredJob
    log_result_lifespan = False

    def __init__(self, settings: Settings, connection: Redis, queues: tuple[str, ...], name: str = "") -> None:
        super().__init__(
            list(queues),
            name=name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
            connection=connection,
            job_class=RegisteredJob,
            serializer=JSONSerializer,
            default_result_ttl=settings.result_ttl_seconds,
            worker_ttl=WORKER_TTL_SECONDS,
            job_monitoring_interval=HEARTBEAT_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            log_job_description=False,
        )
        self._settings = settings

    def start(self, *, burst: bool = False) -> None:
        """Work until asked to stop; with `burst`, until the queues are empty."""
        log.info("Worker %s works on %s", self.name, ", ".join(self.queue_names()))
        # RQ's own lines say the same as ours, in more words: its warnings are enough.
        self.work(burst=burst, with_scheduler=True, logging_level="WARNING")
        log.info("Worker %s has stopped", self.name)

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """Register the worker in Redis. A signal meanwhile is kept: RQ would die of it, and stay registered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_early)
        super().bootstrap(*arguments, **options)

    def _stop_early(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:
            os._exit(0)  # the scheduler, just forked, before it has handlers of its own
        self._stop_requested = True

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """In the work-horse, before the function runs."""
        super().prepare_job_execution(job, remove_from_intermediate_queue)
        ours = _ours(job)
        log.info("Processing %s task %s…%s", ours.type_name, job.id, f" ({ours.runs})" if ours.attempt > 1 else "")

    def handle_job_success(
        self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry, execution: Execution
    ) -> None:
        """In the work-horse, after the function returned: RQ stores the result."""
        super().handle_job_success(job, queue, started_job_registry, execution)
        log.info("Task %s complete in %.2f s", job.id, _seconds(job))

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """In the work-horse after the function raised, or in the worker after its work-horse died."""
        if not self.is_horse:
            _ours(job).attempt += 1  # the work-horse that died had counted it, in its own memory
        stopped = self._stopped_job_id == job.id
        if job.failure_ttl is None:  # RQ's default is a year
            job.failure_ttl = self._settings.failure_ttl_seconds
        retries = job.should_retry and not stopped
        delay = job.get_retry_interval() if retries else 0
        if retries:
            # RQ keeps an error only when no attempt is left.
            Result.create(
                job,
                Result.Type.RETRIED,
                job.failure_ttl,
                exc_string=exc_string,
                worker_name=self.name,
                execution_id=execution.id if execution else None,
                execution_started_at=execution.created_at if execution else None,
                execution_ended_at=job.ended_at,
            )
        super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)
        kind, message = error_of(exc_string)
        reason = f"{kind.rpartition('.')[2]}: {message[:MAX_REASON_CHARACTERS]}".rstrip(": ")
        if stopped:
            log.warning("Task %s stopped on request", job.id)
        elif retries:
            when = f"in {timedelta(seconds=delay)}" if delay >= 60 else f"in {delay} s" if delay else "now"
            log.warning("Task %s failed (%s): %s; next attempt %s", job.id, _ours(job).runs, reason, when)
        else:
            log.error("Task %s failed for good (%s): %s", job.id, _ours(job).runs, reason)
            if kind.rpartition(".")[2] not in SAID_IN_FULL:
                log.info("Traceback of task %s:\n%s", job.id, exc_string.rstrip())

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """RQ would log the traceback and the arguments here; `handle_job_failure` has the words."""
        call_exception_handlers(self._exc_handlers, job, *exc_info)


def _ours(job: Job) -> RegisteredJob:
    assert isinstance(job, RegisteredJob)  # noqa: S101  job_class makes it so
    return job


def _seconds(job: Job) -> float:
    if job.started_at is None or job.ended_at is None:
        return 0.0
    return (job.ended_at - job.started_at).total_seconds()
