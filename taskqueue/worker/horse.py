"""A work-horse: the child process that runs jobs, one turn after another, until it is told to stop."""

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
from rq.exceptions import DeserializationError
from rq.job import _current_job
from rq.timeouts import JobTimeoutException

from taskqueue.errors import PermanentFailure
from taskqueue.run.context import write_progress
from taskqueue.settings import Settings
from taskqueue.store.keys import job_key
from taskqueue.store.times import rq_now
from taskqueue.tasks.log_lines import write_lines
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.trace import Trace, current_trace
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.capture import Capture, CapturedOutput
from taskqueue.worker.error import current_error
from taskqueue.worker.horse_channel import IDLE, SUSPENDED, HorseChannel, Phase, State
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.settle_and_claim import Answer, Outcome, SettleAndClaim, error_text, failure, result_text

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 180  # as RQ's, of a job that says nothing
HARD_LIMIT_SECONDS = 1.5  # past its timeout a job that swallowed it is killed, by the parent
READABLE = frozenset(b"created_at status data origin description".split())  # of any job hash, malformed or not
GONE = -2  # what Redis answers to TTL of a key that is not there
HOUSEKEEPING_SECONDS = 1.0  # how often it looks at its memory, and tells what it has counted


@dataclass(frozen=True)
class Limits:
    """When a horse shall end, to be replaced by a new one; 0: never."""

    jobs: int = 0
    memory_mib: int = 0


class Horse:
    """One horse, in its own process. `run` returns when it shall end."""

    def __init__(
        self,
        channel: HorseChannel,
        connection: Redis,
        turns: SettleAndClaim,
        settings: Settings,
        worker_name: str,
        by_rq: ByRQ,
        limits: Limits,
    ) -> None:
        self._channel = channel
        self._connection = connection
        self._settle_and_claim = turns
        self._settings = settings
        self._worker_name = worker_name
        self._by_rq = by_rq
        self._jobs_left = limits.jobs or sys.maxsize
        self._max_memory_kib = limits.memory_mib * 1024 or sys.maxsize
        self._kept_house_at = time.monotonic()
        self._job_log = JobLog()
        self._tally = Tally()
        self._time_limit = TimeLimit()
        self._capture = Capture(channel, connection, settings.failure_ttl_seconds)
        self._token = uuid4().hex[:24]
        self._count = 0

    def run(self) -> None:
        """Turn after turn."""
        self._capture.install()
        outcome: Outcome | None = None
        while True:
            self._keep_house()
            claim = "" if self._stopping() or self._jobs_left <= 0 else self._next_claim()
            # Whose outcome is not stored yet stays told.
            told = (outcome.job, outcome.execution, outcome.origin, outcome.began) if outcome else ()
            self._channel.write(State(Phase.CLAIMING, claim, *told))
            try:
                answer = self._settle_and_claim(outcome, claim, give_up=_never if outcome else self._stopping)
            except RedisError:
                if self._stopping():
                    return  # the worker settles what stands in the channel
                raise
            if outcome:
                self._settled(outcome, answer.settled)
                outcome = None
            if answer.claimed == "suspended":
                self._sleep(SUSPENDED)
            elif answer.claimed:
                outcome = self._perform(answer, claim)
                if outcome and (said := self._capture.end()):
                    outcome = outcome._replace(said=said)
                self._jobs_left -= 1
            elif not claim:
                self._tell_tally()
                return
            elif answer.settled != "dependents":  # where nothing was claimed, either
                self._sleep(IDLE)

    def _settled(self, outcome: Outcome, settled: str) -> None:
        if settled == "lost":
            self._job_log.lost(outcome)
            return
        if settled == "canceled":
            self._job_log.canceled(outcome)
            outcome = outcome._replace(kind="stopped")
        if settled == "dependents":
            self._by_rq.settle(outcome)
            self._keep_log(outcome.job, outcome.said)
        self._job_log.settled(outcome)
        self._tally.add(outcome.job_type, outcome.kind, outcome.ended - outcome.began)

    def _keep_log(self, job_id: str, said: CapturedOutput | None) -> None:
        """Of a job that RQ's own code has settled."""
        if said:
            ttl = self._connection.ttl(job_key(job_id))
            failure_ttl = self._settings.failure_ttl_seconds
            write_lines(self._connection, job_id, said.attempt, said.lines, ttl if ttl > 0 else failure_ttl)
            if said.progress and ttl != GONE:
                write_progress(self._connection, job_id, said.progress)

    def _stopping(self) -> bool:
        return self._channel.stop

    def _keep_house(self) -> None:
        moment = time.monotonic()
        if moment - self._kept_house_at < HOUSEKEEPING_SECONDS:
            return
        self._kept_house_at = moment
        self._tell_tally()
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib:
            self._jobs_left = 0

    def _tell_tally(self) -> None:
        self._channel.tell(self._tally.take().encode())

    def _next_claim(self) -> str:
        self._count += 1
        return f"{self._token}{self._count:08x}"

    def _sleep(self, why: bytes) -> None:
        self._channel.write(State(Phase.RESTING))
        self._tell_tally()
        self._channel.tell(why)
        if not self._channel.horse_end.recv(1):  # the parent has closed its end
            sys.exit(0)

    def _perform(self, answer: Answer, claim: str) -> Outcome | None:
        """Run the job that was claimed; how it ended, or None where RQ's own code has settled it."""
        began = time.time()
        limit = 0.0
        current_trace.set(Trace.of_job(answer.fields))
        try:
            job = ClaimedJob.of(answer.claimed, answer.fields, self._connection, self._worker_name)
            limit = float(job.timeout or DEFAULT_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001  whatever another program wrote: this job fails, the horse goes on
            return self._unreadable(answer, claim, began)
        deadline = time.monotonic() + limit + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        self._channel.write(State(Phase.RUNNING, claim, answer.claimed, claim, job.origin, began, deadline))
        self._job_log.begins(job)
        self._count_wait(job.type_name, answer.fields, began)
        self._capture.begin(job)
        if not job.is_ordinary:
            succeeded = self._by_rq.run(job, claim)
            self._tally.add(job.type_name, "finished" if succeeded else "failed", time.time() - began)
            self._keep_log(job.id, self._capture.end())
            return None
        token = _current_job.set(job)
        try:
            with self._time_limit(limit):
                text = job.func.text(*job.args, **job.kwargs)
        except BaseException:  # noqa: BLE001  sys.exit in a job is its failure, too
            return self._failure(job, claim, began)
        finally:
            _current_job.reset(token)
        return Outcome(
            kind="finished",
            job=answer.claimed,
            execution=claim,
            origin=job.origin,
            job_type=job.type_name,
            began=began,
            ended=time.time(),
            ttl=self._settings.result_ttl_seconds if job.result_ttl is None else job.result_ttl,
            text=b"" if text == "null" else result_text(text),
        )

    def _count_wait(self, job_type: str, raw: Mapping[bytes, bytes], began: float) -> None:
        with contextlib.suppress(KeyError, ValueError):  # another program may have written anything, or nothing
            queued_at = datetime.fromisoformat(raw[b"enqueued_at"].decode()).timestamp()
            self._tally.add_wait(job_type, max(0.0, began - queued_at))  # the clocks of two machines may differ

    def _failure(self, job: ClaimedJob, execution: str, began: float) -> Outcome:
        """A run that raised: tried again, or failed for good."""
        if isinstance(sys.exc_info()[1], PermanentFailure | DeserializationError):
            job.retries_left = 0
        traceback = current_error()
        outcome = failure(job, execution, traceback, began, self._settings.failure_ttl_seconds)
        self._job_log.failed(job, outcome, traceback)
        return outcome

    def _unreadable(self, answer: Answer, execution: str, began: float) -> Outcome:
        traceback = current_error()
        log.error("Task %s cannot be read, and is set aside as failed: %s", answer.claimed, sys.exc_info()[1])
        # What cannot be read now could not be read later: RQ's own tools stumble over it too.
        key = job_key(answer.claimed)
        self._connection.hset(key, mapping={"created_at": rq_now(), "status": "started"})
        self._connection.hdel(key, *(answer.fields.keys() - READABLE), "worker_name")
        return Outcome(
            kind="failed",
            job=answer.claimed,
            execution=execution,
            origin=answer.fields.get(b"origin", b"default").decode(errors="replace"),
            job_type="unreadable",
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            text=error_text(traceback),
        )


def _never() -> bool:
    return False


class TimeLimit:
    """Raises RQ's `JobTimeoutException` in what runs longer than so many seconds; -1: never."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self, seconds: float) -> "TimeLimit":
        """For what runs next."""
        self._seconds = seconds
        return self

    def __enter__(self) -> None:
        if self._seconds > 0:
            if signal.getsignal(signal.SIGALRM) != self._over:  # it is set once, unless a job sets its own
                signal.signal(signal.SIGALRM, self._over)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _over(self, number: int, frame: FrameType | None) -> None:
        raise JobTimeoutException(f"Task exceeded maximum timeout value ({self._seconds:g} seconds)")
