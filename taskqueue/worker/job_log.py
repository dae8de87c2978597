"""The log lines of a worker about its jobs.

Processing email task 5c1f…
Task 5c1f… complete in 0.42 s
Task 5c1f… failed (attempt 1 of 5): ConnectionRefusedError: …; next attempt in 3 s
"""

import logging
from datetime import timedelta

from taskqueue.errors import HostPaused, PermanentFailure, RetryLater
from taskqueue.tasks.task import error_of
from taskqueue.telemetry.log import about
from taskqueue.worker.decision import NEWER_CODE_SECONDS
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.settle_and_claim import Outcome

log = logging.getLogger(__name__)

NO_TRACEBACK = {PermanentFailure.__name__, HostPaused.__name__, RetryLater.__name__} | {
    kind.__name__ for kind in PermanentFailure.__subclasses__()
}
"""Errors that a job raises with a message for people: the log needs no traceback of them."""
MAX_REASON_CHARACTERS = 300  # of an error's message in the log; the task itself has all of it


class JobLog:
    """Logs what happens to jobs."""

    def begins(self, job: RegisteredJob) -> None:
        """Log that a job begins."""
        if job.waits or not log.isEnabledFor(logging.INFO):  # it is tried again and again: logged once
            return
        runs = f" ({job.runs})" if job.attempt > 1 else ""
        log.info("Processing %s task %s…%s", job.type_name, job.id, runs, extra=about(job.id))

    def settled(self, outcome: Outcome) -> None:
        """Log that Redis has stored a result; failures are logged before."""
        if outcome.kind == "finished":
            seconds = outcome.ended - outcome.began
            log.info("Task %s complete in %.2f s", outcome.job, seconds, extra=about(outcome.job))
        elif outcome.kind == "stopped":
            log.warning("Task %s stopped on request", outcome.job, extra=about(outcome.job))

    def failed(self, job: RegisteredJob, outcome: Outcome) -> None:
        """Log that an attempt failed, and when the next one begins."""
        kind, message = error_of(outcome.error)
        kind = kind.rpartition(".")[2]
        reason = f"{kind}: {message[:MAX_REASON_CHARACTERS]}".rstrip(": ")
        if outcome.kind == "retried":
            delay = outcome.delay
            when = f"in {timedelta(seconds=delay)}" if delay >= 60 else f"in {delay} s" if delay else "now"
            log.warning(
                "Task %s failed (%s): %s; next attempt %s", job.id, job.runs, reason, when, extra=about(job.id)
            )
            return
        log.error("Task %s failed for good (%s): %s", job.id, job.runs, reason, extra=about(job.id))
        if kind not in NO_TRACEBACK:
            log.info("Traceback of task %s:\n%s", job.id, outcome.error.rstrip(), extra=about(job.id))

    def postponed(self, job: RegisteredJob, error: BaseException | None) -> None:
        """Log that a job waits for a worker with newer code."""
        log.warning(
            "Task %s is left to a worker with newer code, for %d minutes: %s",
            job.id, NEWER_CODE_SECONDS / 60, error, extra=about(job.id),
        )  # fmt: skip

    def put_off(self, job: RegisteredJob, why: str) -> None:
        """Log that a job's turn was put off, the first time."""
        if not job.waits:
            log.info("Task %s waits, no attempt used: %s", job.id, why, extra=about(job.id))

    def abandoned(self, job: RegisteredJob, outcome: Outcome) -> None:
        """Log what becomes of a run that its work-horse could not settle."""
        if outcome.kind == "returned":
            log.info("Task %s is put back to the front of its queue", job.id, extra=about(job.id))
        elif outcome.kind == "stopped":
            log.warning("Task %s stopped on request", job.id, extra=about(job.id))
        else:
            self.failed(job, outcome)

    def canceled(self, outcome: Outcome) -> None:
        """Log that a job is canceled, maybe although its run ended by itself first."""
        if outcome.kind == "stopped":
            log.warning("Task %s canceled while it ran", outcome.job, extra=about(outcome.job))
            return
        log.warning(
            "Task %s canceled; its outcome is dropped: %s", outcome.job, outcome.kind, extra=about(outcome.job)
        )

    def lost(self, outcome: Outcome) -> None:
        """Log that another execution has the job, or that it is gone."""
        log.warning(
            "Task %s was given to another worker, canceled or deleted; its outcome is dropped: %s",
            outcome.job, outcome.kind, extra=about(outcome.job),
        )  # fmt: skip
