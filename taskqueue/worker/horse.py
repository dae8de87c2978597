"""A work-horse: the child process that claims, runs and settles one job after another, until it must stop."""

import contextlib
import logging
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError
from rq.job import _current_job
from rq.timeouts import JobTimeoutException

from taskqueue.enqueue.job_fields import CALLBACK_TYPE
from taskqueue.errors import HostPaused
from taskqueue.hooks import registry as hooks
from taskqueue.hooks.running import report_failure
from taskqueue.run.context import write_progress
from taskqueue.settings import Settings
from taskqueue.store.keys import job_key
from taskqueue.store.times import rq_now
from taskqueue.tasks.log_lines import write_lines
from taskqueue.tasks.put_off import CALLBACK_PLACE, PutOff
from taskqueue.tasks.reason import ReasonCode
from taskqueue.tasks.running import CurrentTask
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.log import about
from taskqueue.telemetry.trace import Trace, current_trace
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.callback_places import PUT_OFF_SECONDS, CallbackPlaces
from taskqueue.worker.capture import Capture, CapturedOutput
from taskqueue.worker.decision import (
    Ending,
    How,
    is_unknown_here,
    postponed_seconds,
    put_off_again,
    seconds_to_wait,
)
from taskqueue.worker.error import current_error
from taskqueue.worker.horse_channel import IDLE, SUSPENDED, HorseChannel, Phase, State
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.settle_and_claim import Answer, Outcome, SettleAndClaim, outcome_of, result_text

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 180  # RQ's, for a job without a timeout
FAILURE_HOOKS_SECONDS = 10.0  # for all @when_failed hooks of a task
HARD_LIMIT_SECONDS = 1.5  # after its timeout the worker kills a job that has swallowed the exception
READABLE = frozenset(b"created_at status data origin description".split())  # kept of a malformed hash
GONE = -2  # Redis's answer to TTL for a key that does not exist
HOUSEKEEPING_SECONDS = 1.0  # how often a horse checks its memory, and sends its counts


@dataclass(frozen=True)
class HorseLimits:
    """When to replace a horse by a new one; 0: never."""

    jobs: int = 0
    memory_mib: int = 0


class Horse:
    """One work-horse, in its own process. `run` returns when the process must end."""

    def __init__(
        self,
        channel: HorseChannel,
        connection: Redis,
        settle_and_claim: SettleAndClaim,
        settings: Settings,
        worker_name: str,
        by_rq: ByRQ,
        limits: HorseLimits,
        callback_places: CallbackPlaces | None = None,
    ) -> None:
        self._channel = channel
        self._connection = connection
        self._settle_and_claim = settle_and_claim
        self._settings = settings
        self._worker_name = worker_name
        self._by_rq = by_rq
        self._callback_places = callback_places  # None: callbacks may run in all horses
        self._jobs_left = limits.jobs or sys.maxsize
        self._max_memory_kib = limits.memory_mib * 1024 or sys.maxsize
        self._kept_house_at = time.monotonic()
        self._job_log = JobLog()
        self._tally = Tally()
        self._time_limit = TimeLimit()
        self._capture = Capture(channel, connection, settings.failure_ttl_seconds)
        self._token = uuid4().hex[:24]
        self._claims = 0

    def run(self) -> None:
        """Settle and claim, again and again. Raises the driver's errors that waiting cannot cure."""
        self._capture.install()
        outcome: Outcome | None = None
        while True:
            self._keep_house()
            claim = "" if self._stopping() or self._jobs_left <= 0 else self._next_claim()
            # Keep announcing the previous job until its outcome is stored.
            previous = (outcome.job, outcome.execution, outcome.origin, outcome.began) if outcome else ()
            self._channel.write(State(Phase.CLAIMING, claim, *previous))
            try:
                answer = self._settle_and_claim(outcome, claim, give_up=_never if outcome else self._stopping)
            except RedisError:
                if self._stopping():
                    return  # the worker settles the job that the channel names
                raise
            if outcome:
                self._settled(outcome, answer.settled)
                outcome = None
            if answer.claim == "claimed":
                outcome = self._perform(answer, claim)
                if outcome and (output := self._capture.end()):
                    outcome = outcome._replace(output=output)
                self._jobs_left -= 1
            elif answer.claim == "suspended":
                self._sleep(SUSPENDED)
            elif answer.claim == "empty":
                self._sleep(IDLE)
            elif not claim:
                self._send_tally()
                return

    def _settled(self, outcome: Outcome, settled: str) -> None:
        if settled == "lost":
            self._job_log.lost(outcome)
            return
        if settled == "canceled":
            self._job_log.canceled(outcome)
            outcome = outcome._replace(kind="stopped")
        if settled == "dependents":
            self._by_rq.settle(outcome)
            self._write_output(outcome.job, outcome.output)
        self._job_log.settled(outcome)
        if outcome.kind != "postponed":  # nothing has run
            self._tally.add(outcome.job_type, outcome.kind, outcome.ended - outcome.began, outcome.origin)

    def _write_output(self, job_id: str, output: CapturedOutput | None) -> None:
        """Write the last output of a job that RQ's own code has settled."""
        if output:
            ttl = self._connection.ttl(job_key(job_id))
            failure_ttl = self._settings.failure_ttl_seconds
            write_lines(self._connection, job_id, output.attempt, output.lines, ttl if ttl > 0 else failure_ttl)
            if output.progress and ttl != GONE:
                write_progress(self._connection, job_id, output.progress)

    def _stopping(self) -> bool:
        return self._channel.stop

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._kept_house_at < HOUSEKEEPING_SECONDS:
            return
        self._kept_house_at = now
        self._send_tally()
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib:
            self._jobs_left = 0

    def _send_tally(self) -> None:
        self._channel.send(self._tally.take().encode())

    def _next_claim(self) -> str:
        """Return the id of a new execution."""
        self._claims += 1
        return f"{self._token}{self._claims:08x}"

    def _sleep(self, why: bytes) -> None:
        self._channel.write(State(Phase.RESTING))
        self._send_tally()
        self._channel.send(why)
        if not self._channel.horse_end.recv(1):  # the worker has closed its end
            sys.exit(0)

    def _perform(self, answer: Answer, claim: str) -> Outcome | None:
        """Run the claimed job; return what becomes of it, or None if RQ's own code has settled it."""
        began = time.time()
        limit = 0.0
        current_trace.set(Trace.of_job(answer.fields))
        try:
            job = ClaimedJob.of(answer.job_id, answer.fields, self._connection, self._worker_name)
            limit = float(job.timeout or DEFAULT_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001  another program may have written anything: this job fails, the horse goes on
            return self._unreadable(answer, claim, began)
        if without_place := self._without_place(job, claim, began):
            return without_place
        deadline = time.monotonic() + limit + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        self._channel.write(State(Phase.RUNNING, claim, answer.job_id, claim, job.origin, began, deadline))
        self._job_log.begins(job)
        if not job.waits:
            self._count_wait(job, answer.fields, began)
        self._capture.begin(job)
        if job.needs_rqs_code:
            succeeded = self._by_rq.run(job, claim)
            outcome = "finished" if succeeded else "failed"
            self._tally.add(job.type_name, outcome, time.time() - began, job.origin)
            self._write_output(job.id, self._capture.end())
            return None
        token = _current_job.set(job)
        try:
            with self._time_limit(limit):
                text = job.func.text(*job.args, **job.kwargs)
        except BaseException:  # noqa: BLE001  sys.exit() in a job fails it, too
            return self._failure(job, claim, began)
        finally:
            _current_job.reset(token)
            if self._callback_places and job.type_name == CALLBACK_TYPE:
                self._callback_places.release()
        return Outcome(
            kind="finished",
            job=answer.job_id,
            execution=claim,
            origin=job.origin,
            job_type=job.type_name,
            began=began,
            ended=time.time(),
            ttl=self._settings.result_ttl_seconds if job.result_ttl is None else job.result_ttl,
            result=b"" if text == "null" else result_text(text),
        )

    def _count_wait(self, job: ClaimedJob, raw: Mapping[bytes, bytes], began: float) -> None:
        with contextlib.suppress(KeyError, ValueError):  # another program may have written anything, or nothing
            queued_at = datetime.fromisoformat(raw[b"enqueued_at"].decode()).timestamp()
            waited = max(0.0, began - queued_at)  # the clocks of two machines may differ
            self._tally.add_wait(job.type_name, waited, job.origin)

    def _failure(self, job: ClaimedJob, execution: str, began: float) -> Outcome:
        """Return what becomes of a job whose run has raised the exception that is being handled."""
        self._capture.restore_logging()  # before what follows is logged
        error = sys.exc_info()[1]
        if (
            job.is_ours
            and is_unknown_here(error, job.type_name)
            and (delay := postponed_seconds(job.unknown_since, time.time()))
        ):
            if not job.unknown_since:
                self._job_log.postponed(job, error)
            return self._postponed(job, execution, began, delay)
        text = current_error()
        if isinstance(error, HostPaused):
            if put_off := put_off_again(job.put_off, job.attempt, error.host, time.time()):
                self._job_log.put_off(job, str(error))
                return self._postponed(job, execution, began, max(1, seconds_to_wait(error)), put_off)
            text = f"{text.rstrip()} The task has waited for it for an hour."
        ending = Ending(How.of_error(error), text, seconds_to_wait(error))
        outcome = outcome_of(job, execution, ending, began, self._settings.failure_ttl_seconds)
        self._job_log.failed(job, outcome)
        if outcome.kind == "failed" and error and hooks.failures:
            self._call_failure_hooks(job, execution, began, error)
        return outcome

    def _call_failure_hooks(self, job: ClaimedJob, execution: str, began: float, error: BaseException) -> None:
        """Call the `@when_failed` hooks, within a time limit of their own."""
        deadline = time.monotonic() + FAILURE_HOOKS_SECONDS + HARD_LIMIT_SECONDS
        self._channel.write(State(Phase.RUNNING, execution, job.id, execution, job.origin, began, deadline))
        task = CurrentTask(job.id, self._connection, job.type_name)
        try:
            with self._time_limit(FAILURE_HOOKS_SECONDS):
                report_failure(task, error)
        except BaseException as raised:  # noqa: BLE001  sys.exit() in a hook, too: the task must still be settled
            log.error("A @when_failed hook of task %s has ended with %r", job.id, raised, extra=about(job.id))  # noqa: TRY400

    def _postponed(
        self, job: ClaimedJob, execution: str, began: float, delay: int, put_off: PutOff | None = None
    ) -> Outcome:
        """Return an outcome by which the job comes back after `delay` seconds, no attempt used.

        Without `put_off` it is left to a worker with newer code, and the error that is being handled is stored.
        """
        return Outcome(
            kind="postponed",
            job=job.id,
            execution=execution,
            origin=job.origin,
            job_type=job.type_name,
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            error="" if put_off else current_error(),
            delay=delay,
            failure=put_off.text() if put_off else "",
        )

    def _without_place(self, job: ClaimedJob, execution: str, began: float) -> Outcome | None:
        """Return an outcome that puts off a callback for which this worker has no place; otherwise None."""
        if self._callback_places is None or job.type_name != CALLBACK_TYPE:
            return None
        put_off = put_off_again(job.put_off, job.attempt, CALLBACK_PLACE, began)
        if put_off is None or self._callback_places.take(self._connection, began - put_off.since):
            return None
        return self._postponed(job, execution, began, PUT_OFF_SECONDS, put_off)

    def _unreadable(self, answer: Answer, execution: str, began: float) -> Outcome:
        """Return a failure for a hash that is no job; raise the driver's errors."""
        log.error("Task %s is unreadable and has failed: %s", answer.job_id, sys.exc_info()[1],
                  extra=about(answer.job_id))  # fmt: skip
        # Remove the fields that are malformed: RQ's own tools would fail on them, too.
        key = job_key(answer.job_id)
        self._connection.hset(key, mapping={"created_at": rq_now(), "status": "started"})
        self._connection.hdel(key, *(answer.fields.keys() - READABLE), "worker_name")
        return Outcome(
            kind="failed",
            job=answer.job_id,
            execution=execution,
            origin=answer.fields.get(b"origin", b"default").decode(errors="replace"),
            job_type="unreadable",
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            error=current_error(),
            reason=ReasonCode.UNREADABLE,
        )


def _never() -> bool:
    return False


class TimeLimit:
    """Raises RQ's `JobTimeoutException` in code that runs longer than so many seconds; -1: never."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self, seconds: float) -> "TimeLimit":
        """Set the limit for the next `with` block."""
        self._seconds = seconds
        return self

    def __enter__(self) -> None:
        if self._seconds > 0:
            if signal.getsignal(signal.SIGALRM) != self._expire:  # set once, or after a job's own
                signal.signal(signal.SIGALRM, self._expire)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _expire(self, number: int, frame: FrameType | None) -> None:
        raise JobTimeoutException(f"Task exceeded maximum timeout value ({self._seconds:g} seconds)")
