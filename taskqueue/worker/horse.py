"""A work-horse: the child process that claims, runs and settles one job after another, until it must stop."""

import logging
import resource
import signal
import sys
import time
from dataclasses import dataclass
from types import FrameType
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError
from rq.job import _current_job
from rq.timeouts import JobTimeoutException

from taskqueue.settings import Settings
from taskqueue.telemetry.trace import Trace, current_trace
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.capture import Capture
from taskqueue.worker.horse_channel import IDLE, IDLE_OTHERS, SUSPENDED, HorseChannel, Phase, State
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.live_tally import LiveTally
from taskqueue.worker.outcomes import Outcomes
from taskqueue.worker.settle_and_claim import Claimed, Outcome, SettleAndClaim

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_SECONDS = 180  # RQ's, for a job without a timeout
HARD_LIMIT_SECONDS = 1.5  # after its timeout the worker kills a job that has swallowed the exception
HOUSEKEEPING_SECONDS = 1.0  # how often a horse checks its memory


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
    ) -> None:
        self._channel = channel
        self._connection = connection
        self._settle_and_claim = settle_and_claim
        self._settings = settings
        self._worker_name = worker_name
        self._by_rq = by_rq
        self._jobs_left = limits.jobs or sys.maxsize
        self._max_memory_kib = limits.memory_mib * 1024 or sys.maxsize
        self._kept_house_at = time.monotonic()
        self._job_log = JobLog()
        self._tally = LiveTally(channel.send)
        self._outcomes = Outcomes(connection, settings, by_rq, self._tally)
        self._time_limit = TimeLimit()
        self._capture = Capture(connection, settings.failure_ttl_seconds, channel.note_line)
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
                answer = self._settle_and_claim(
                    [outcome] if outcome else [], claim, give_up=_never if outcome else self._stopping
                )
            except RedisError:
                if self._stopping():
                    return  # the worker settles the job that the channel names
                raise
            if outcome:
                self._outcomes.note_settled(outcome, answer.settled[0])
                outcome = None
            if answer.claim == "claimed":
                outcome = self._perform(answer.jobs[0])
                if outcome and (output := self._capture.end()):
                    outcome = outcome._replace(output=output)
                self._jobs_left -= 1
            elif answer.claim == "suspended":
                self._sleep(SUSPENDED)
            elif answer.claim == "empty":
                self._sleep(IDLE)
            elif answer.claim == "others":
                self._sleep(IDLE_OTHERS)
            elif not claim:
                self._tally.send()
                return

    def _stopping(self) -> bool:
        return self._channel.stop

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._kept_house_at < HOUSEKEEPING_SECONDS:
            return
        self._kept_house_at = now
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib:
            self._jobs_left = 0

    def _next_claim(self) -> str:
        """Return the id of a new execution."""
        self._claims += 1
        return f"{self._token}{self._claims:08x}"

    def _sleep(self, why: bytes) -> None:
        self._channel.write(State(Phase.RESTING))
        self._tally.send()
        self._channel.send(why)
        if not self._channel.horse_end.recv(1):  # the worker has closed its end
            sys.exit(0)

    def _perform(self, claimed: Claimed) -> Outcome | None:
        """Run the claimed job; return what becomes of it, or None if RQ's own code has settled it."""
        execution, began = claimed.execution, time.time()
        limit = 0.0
        current_trace.set(Trace.of_job(claimed.fields))
        try:
            job = ClaimedJob.of(claimed.id, claimed.fields, self._connection, self._worker_name)
            limit = float(job.timeout or DEFAULT_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001  another program may have written anything: this job fails, the horse goes on
            return self._outcomes.unreadable(claimed, began)
        deadline = time.monotonic() + limit + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        self._channel.write(State(Phase.RUNNING, execution, claimed.id, execution, job.origin, began, deadline))
        self._job_log.begins(job)
        self._outcomes.count_wait(job, claimed.fields, began)
        self._capture.begin(job)
        if job.needs_rqs_code:
            succeeded = self._by_rq.run(job, execution)
            outcome = "finished" if succeeded else "failed"
            self._tally.add(job.type_name, outcome, time.time() - began, job.origin)
            self._outcomes.write_output(job.id, self._capture.end())
            return None
        token = _current_job.set(job)
        try:
            with self._time_limit(limit):
                text = job.func.text(*job.args, **job.kwargs)
        except BaseException:  # noqa: BLE001  sys.exit() in a job fails it, too
            self._capture.restore_logging()  # before what follows is logged
            return self._outcomes.failed(job, execution, began)
        finally:
            _current_job.reset(token)
        return self._outcomes.finished(job, execution, began, text)


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
