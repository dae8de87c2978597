"""A work-horse: the child process that runs jobs, one turn after another, until it is told to stop."""

import ctypes
import json
import logging
import os
import random
import resource
import signal
import sys
import time
from uuid import uuid4

from redis import Redis
from rq.exceptions import DeserializationError
from rq.job import _current_job
from rq.job_lifecycle import format_exc_info
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty
from rq.utils import now

from taskqueue.engine.by_rq import ByRQ
from taskqueue.engine.job import RegisteredJob
from taskqueue.engine.slot import IDLE, SUSPENDED, Phase, Slot, State
from taskqueue.engine.story import Story
from taskqueue.engine.turn import Answer, Outcome, Turns, error_text, failure, moment, result_text
from taskqueue.errors import PermanentFailure
from taskqueue.settings import Settings

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
LIBC = ctypes.CDLL(None)
DEFAULT_TIMEOUT_SECONDS = 180  # as RQ's, of a job that says nothing
HARD_LIMIT_SECONDS = 1.5  # past its timeout a job that swallowed it is killed, by the parent
MEMORY_CHECK_SECONDS = 1.0


class Horse:
    """One horse, in its own process. `run` returns when it shall end."""

    def __init__(
        self,
        slot: Slot,
        connection: Redis,
        turns: Turns,
        settings: Settings,
        worker_name: str,
        by_rq: ByRQ,
        *,
        max_jobs: int,
        max_memory_mib: int,
    ) -> None:
        self._slot = slot
        self._connection = connection
        self._turns = turns
        self._settings = settings
        self._worker_name = worker_name
        self._by_rq = by_rq
        self._jobs_left = max_jobs or sys.maxsize
        self._max_memory_kib = max_memory_mib * 1024 or sys.maxsize
        self._memory_checked_at = 0.0
        self._story = Story()
        self._token = uuid4().hex[:24]
        self._count = 0

    def run(self) -> None:
        """Turn after turn."""
        outcome: Outcome | None = None
        while True:
            claim = "" if self._shall_end() else self._next_claim()
            # Whose outcome is not stored yet stays told: `_replace` keeps the job.
            last = self._slot.read() if outcome else State(Phase.CLAIMING)
            self._slot.write(last._replace(phase=Phase.CLAIMING, claim=claim, deadline=0.0))
            answer = self._turns.turn(outcome, claim)
            if answer.settled == "lost" and outcome:
                self._story.lost(outcome)
            if answer.settled == "dependents" and outcome:
                self._by_rq.settle(outcome)
                outcome = None
                continue
            if outcome and answer.settled == "yes":
                self._story.settled(outcome)
            outcome = None
            if not claim:
                return
            if not answer.claimed or answer.claimed == "suspended":
                self._slot.write(State(Phase.RESTING))
                self._sleep(SUSPENDED if answer.claimed else IDLE)
                continue
            outcome = self._perform(answer, claim)
            self._jobs_left -= 1

    def _shall_end(self) -> bool:
        return self._slot.stop or self._jobs_left <= 0 or self._is_too_large()

    def _is_too_large(self) -> bool:
        moment = time.monotonic()
        if moment - self._memory_checked_at < MEMORY_CHECK_SECONDS:
            return False
        self._memory_checked_at = moment
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._max_memory_kib

    def _next_claim(self) -> str:
        self._count += 1
        return f"{self._token}{self._count:08x}"

    def _sleep(self, why: bytes) -> None:
        self._slot.horses_end.send(why)
        if not self._slot.horses_end.recv(1):  # the parent has closed its end
            sys.exit(0)

    def _perform(self, answer: Answer, claim: str) -> Outcome | None:
        """Run the job that was claimed; how it ended, or None where RQ's own code has settled it."""
        began = time.time()
        fields = answer.fields
        origin = fields.get(b"origin", b"default").decode()
        job = RegisteredJob(answer.claimed, connection=self._connection, serializer=JSONSerializer)
        limit = 0.0
        try:
            job.restore(fields)
            job.claimed = True
            job.attempt += 1
            job.worker_name = self._worker_name
            job.started_at = now()
            limit = float(job.timeout or DEFAULT_TIMEOUT_SECONDS)
        except Exception:  # noqa: BLE001  whatever another program wrote: this job fails, the horse goes on
            return self._unreadable(answer.claimed, claim, origin, began)
        deadline = time.monotonic() + limit + HARD_LIMIT_SECONDS if limit > 0 else 0.0
        self._slot.write(State(Phase.RUNNING, claim, job.id, claim, origin, began, deadline))
        self._story.begins(job)
        if not job.is_ordinary:
            self._by_rq.run(job, claim)
            return None
        token = _current_job.set(job)
        try:
            with UnixSignalDeathPenalty(int(limit), JobTimeoutException, job_id=job.id):
                value = job.func(*job.args, **job.kwargs)
            text = b"" if value is None else result_text(json.dumps(value))
        except BaseException:  # noqa: BLE001  sys.exit in a job is its failure, too
            return self._failure(job, claim, began)
        finally:
            _current_job.reset(token)
        return Outcome(
            kind="finished",
            job=job.id,
            execution=claim,
            origin=origin,
            began=began,
            ended=time.time(),
            ttl=job.get_result_ttl(self._settings.result_ttl_seconds),
            text=text,
        )

    def _failure(self, job: RegisteredJob, execution: str, began: float) -> Outcome:
        """A run that raised: tried again, or failed for good."""
        if isinstance(sys.exc_info()[1], PermanentFailure | DeserializationError):
            job.retries_left = 0
        traceback = format_exc_info(sys.exc_info())
        outcome = failure(job, execution, traceback, began, self._settings.failure_ttl_seconds)
        self._story.failed(job, outcome, traceback)
        return outcome

    def _unreadable(self, job_id: str, execution: str, origin: str, began: float) -> Outcome:
        traceback = format_exc_info(sys.exc_info())
        log.error("Task %s cannot be read, and is set aside as failed: %s", job_id, sys.exc_info()[1])
        # What cannot be read now could not be read later: RQ's own tools stumble over it too.
        self._connection.hset(f"rq:job:{job_id}", mapping={"created_at": moment(), "status": "started"})
        return Outcome(
            kind="failed",
            job=job_id,
            execution=execution,
            origin=origin,
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            text=error_text(traceback),
        )


def become_a_horse(parent: int) -> None:
    """What a process must do first, that has just been forked."""
    os.setpgid(0, 0)  # the terminal's Ctrl-C is the parent's; and we can be killed with our children
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could say so
    random.seed()
