"""The log of a worker's jobs, in three kinds of lines.

Processing email task 5c1f…
Task 5c1f… complete in 0.42 s
Task 5c1f… failed (attempt 1 of 5): ConnectionRefusedError: …; next attempt in 3 s
"""

import logging
from datetime import timedelta

from taskqueue.errors import PermanentFailure
from taskqueue.tasks.task import error_of
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.settle_and_claim import Outcome

log = logging.getLogger(__name__)

SAID_IN_FULL = {PermanentFailure.__name__} | {kind.__name__ for kind in PermanentFailure.__subclasses__()}
"""Errors that a job raised in its own words: the log needs no traceback of them."""
MAX_REASON_CHARACTERS = 300  # of an error's message in the log; the task itself has all of it


class JobLog:
    """Tells what happens to jobs."""

    def begins(self, job: RegisteredJob) -> None:
        """Before the function runs."""
        if not log.isEnabledFor(logging.INFO):
            return
        again = f" ({job.runs})" if job.attempt > 1 else ""
        log.info("Processing %s task %s…%s", job.type_name, job.id, again, extra=_of(job.id))

    def settled(self, outcome: Outcome) -> None:
        """After Redis has taken the result."""
        if outcome.kind == "finished":
            seconds = outcome.ended - outcome.began
            log.info("Task %s complete in %.2f s", outcome.job, seconds, extra=_of(outcome.job))

    def failed(self, job: RegisteredJob, outcome: Outcome, traceback: str) -> None:
        """A run failed, or its horse died."""
        kind, message = error_of(traceback)
        kind = kind.rpartition(".")[2]
        reason = f"{kind}: {message[:MAX_REASON_CHARACTERS]}".rstrip(": ")
        if outcome.kind == "retried":
            delay = outcome.delay
            when = f"in {timedelta(seconds=delay)}" if delay >= 60 else f"in {delay} s" if delay else "now"
            log.warning(
                "Task %s failed (%s): %s; next attempt %s", job.id, job.runs, reason, when, extra=_of(job.id)
            )
            return
        log.error("Task %s failed for good (%s): %s", job.id, job.runs, reason, extra=_of(job.id))
        if kind not in SAID_IN_FULL:
            log.info("Traceback of task %s:\n%s", job.id, traceback.rstrip(), extra=_of(job.id))

    def canceled(self, outcome: Outcome) -> None:
        """It was to be stopped, and has ended by itself."""
        log.warning("Task %s canceled; dropped: %s", outcome.job, outcome.kind)

    def lost(self, outcome: Outcome) -> None:
        """The job was not ours any more."""
        log.warning("Task %s was given to another worker, canceled or deleted meanwhile; dropped: %s",
                    outcome.job, outcome.kind, extra=_of(outcome.job))  # fmt: skip


def _of(task_id: str) -> dict[str, str]:
    """For LOG_FORMAT=json: these lines are told beside the job, not in it."""
    return {"task_id": task_id}
