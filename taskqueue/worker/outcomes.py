"""Makes the outcome of a run from how it ended, and does what follows once Redis has stored it."""

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from redis import Redis

from taskqueue.errors import HostPaused
from taskqueue.hooks.running import report_failure
from taskqueue.run.context import write_progress
from taskqueue.settings import Settings
from taskqueue.store.keys import job_key
from taskqueue.store.times import rq_now
from taskqueue.tasks.log_lines import write_lines
from taskqueue.tasks.put_off import PutOff
from taskqueue.tasks.reason import ReasonCode
from taskqueue.tasks.running import CurrentTask
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.log import about
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import (
    Ending,
    How,
    is_unknown_here,
    postponed_seconds,
    put_off_again,
    seconds_to_wait,
)
from taskqueue.worker.error import current_error
from taskqueue.worker.job import ClaimedJob
from taskqueue.worker.job_log import JobLog
from taskqueue.worker.run_output import CapturedOutput
from taskqueue.worker.settle_and_claim import Claimed, Outcome, outcome_of, result_text

log = logging.getLogger(__name__)

FAILURE_HOOKS_SECONDS = 10.0  # for all @when_failed hooks of a task
READABLE = frozenset(b"created_at status data origin description".split())  # kept of a malformed hash
GONE = -2  # Redis's answer to TTL for a key that does not exist


class Outcomes:
    """Makes the outcomes of one process's runs, logs them and counts them."""

    def __init__(self, connection: Redis, settings: Settings, by_rq: ByRQ, tally: Tally) -> None:
        self._connection = connection
        self._settings = settings
        self._by_rq = by_rq
        self._tally = tally
        self._job_log = JobLog()

    def finished(self, job: ClaimedJob, execution: str, began: float, text: str) -> Outcome:
        """Return the outcome of a run that returned a result; `text`: the result as JSON."""
        return Outcome(
            kind="finished",
            job=job.id,
            execution=execution,
            origin=job.origin,
            job_type=job.type_name,
            began=began,
            ended=time.time(),
            ttl=self._settings.result_ttl_seconds if job.result_ttl is None else job.result_ttl,
            result=b"" if text == "null" else result_text(text),
        )

    def failed(self, job: ClaimedJob, execution: str, began: float) -> Outcome:
        """Return what becomes of a job whose run has raised the exception that is being handled."""
        error = sys.exc_info()[1]
        if (
            job.is_ours
            and is_unknown_here(error, job.type_name)
            and (delay := postponed_seconds(job.unknown_since, time.time()))
        ):
            if not job.unknown_since:
                self._job_log.postponed(job, error)
            return self.postponed(job, execution, began, delay)
        text = current_error()
        if isinstance(error, HostPaused):
            if put_off := put_off_again(job.put_off, job.attempt, error.host, time.time()):
                self._job_log.put_off(job, str(error))
                return self.postponed(job, execution, began, max(1, seconds_to_wait(error)), put_off)
            text = f"{text.rstrip()} The task has waited for it for an hour."
        return self.ended(
            job, execution, began, Ending(How.of_error(error), text, retry_after=seconds_to_wait(error))
        )

    def call_failure_hooks(
        self, job: ClaimedJob, error: BaseException, time_limit: AbstractContextManager[object]
    ) -> None:
        """Call the `@when_failed` hooks of a task that has failed for good, within the time limit."""
        try:
            with time_limit:
                report_failure(CurrentTask(job.id, self._connection, job.type_name), error)
        except BaseException as raised:  # noqa: BLE001  sys.exit() in a hook, too: the task must still be settled
            log.error("A @when_failed hook of task %s has ended with %r", job.id, raised, extra=about(job.id))  # noqa: TRY400

    def ended(self, job: ClaimedJob, execution: str, began: float, ending: Ending) -> Outcome:
        """Return what becomes of a job whose run ended like this, without success, and log it."""
        outcome = outcome_of(job, execution, ending, began, self._settings.failure_ttl_seconds)
        if outcome.kind != "stopped":  # it is logged when Redis has said whether the task was canceled
            self._job_log.abandoned(job, outcome)
        return outcome

    def alone(self, job: ClaimedJob, execution: str, began: float) -> Outcome:
        """Return an outcome that puts a job back which cannot run beside others: it has not begun."""
        ending = Ending(How.RETURNED, "It is put back to its queue, to run alone.", alone=True)
        return outcome_of(job, execution, ending, began, self._settings.failure_ttl_seconds)

    def postponed(
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

    def unreadable(self, claimed: Claimed, began: float) -> Outcome:
        """Return the failure of a job whose hash is malformed, in an `except` block. Raises Redis errors."""
        job_id, execution, fields = claimed
        log.error("Task %s is unreadable and has failed: %s", job_id, sys.exc_info()[1], extra=about(job_id))
        # Remove the fields that are malformed: RQ's own tools would fail on them, too.
        key = job_key(job_id)
        self._connection.hset(key, mapping={"created_at": rq_now(), "status": "started"})
        self._connection.hdel(key, *(fields.keys() - READABLE), "worker_name")
        return Outcome(
            kind="failed",
            job=job_id,
            execution=execution,
            origin=fields.get(b"origin", b"default").decode(errors="replace"),
            job_type="unreadable",
            began=began,
            ended=time.time(),
            ttl=self._settings.failure_ttl_seconds,
            error=current_error(),
            reason=ReasonCode.UNREADABLE,
        )

    def note_settled(self, outcome: Outcome, settled: str) -> None:
        """Log and count a run that Redis has settled; `settled`: what the script said."""
        if settled == "lost":
            self._job_log.lost(outcome)
            return
        if settled == "canceled":
            self._job_log.canceled(outcome)
            self._tally.add(outcome.job_type, "stopped", outcome.ended - outcome.began, outcome.origin)
            return
        if settled == "dependents":
            self._by_rq.settle(outcome)
            self.write_output(outcome.job, outcome.output)
        self._job_log.settled(outcome)
        if outcome.kind != "postponed" and not outcome.alone:  # else nothing has run
            self._tally.add(outcome.job_type, outcome.kind, outcome.ended - outcome.began, outcome.origin)

    def write_output(self, job_id: str, output: CapturedOutput | None) -> None:
        """Write the last output of a job that RQ's own code has settled."""
        if output:
            ttl = self._connection.ttl(job_key(job_id))
            failure_ttl = self._settings.failure_ttl_seconds
            write_lines(self._connection, job_id, output.attempt, output.lines, ttl if ttl > 0 else failure_ttl)
            if output.progress and ttl != GONE:
                write_progress(self._connection, job_id, output.progress)

    def count_wait(self, job: ClaimedJob, raw: Mapping[bytes, bytes], began: float) -> None:
        """Count how long a job has waited until its run began, unless it was put off before."""
        if job.waits:
            return
        with contextlib.suppress(KeyError, ValueError):  # another program may have written anything, or nothing
            queued_at = datetime.fromisoformat(raw[b"enqueued_at"].decode()).timestamp()
            waited = max(0.0, began - queued_at)  # the clocks of two machines may differ
            self._tally.add_wait(job.type_name, waited, job.origin)
